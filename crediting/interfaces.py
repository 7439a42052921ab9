"""Every extension point on one page.

A config group names a class by `_target_`; the class fits the protocol below. Constructors take
plain arguments only (numbers, strings, lists, mappings) and do no work, so that a study can be
checked before anything runs and can be sent to workers. If settings of a model, an extractor, a
generation or a baseline only bound memory, a class attribute `memory_settings` holds their keys:
results are found again whatever these say.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from crediting.game.attribution import Attribution
    from crediting.game.contributor import Partition
    from crediting.game.game import EvaluatedSample, Sample
    from crediting.training.examples import Examples
    from crediting.training.recipe import BatchGradient, Training


# ------------------------------------------------------------------------------ from outside


class Asset(Protocol):
    """A file or folder that a part needs from outside: data, or published weights.

    A part (dataset, model, extractor) that needs any has a method `assets()` which returns them,
    each under the key of its own config that names it. What lies locally always wins.
    """

    @property
    def what(self) -> str:
        """What it is, as a singular noun phrase: "the network Inception-v3"."""

    @property
    def source(self) -> str:
        """Where it is published: an address, or the id of a repository on the hub."""

    @property
    def licence(self) -> str:
        """The licence it is published under."""

    @property
    def size(self) -> int:
        """Bytes to fetch; 0 if unknown."""

    def find(self) -> Path:
        """Return where it lies on this machine, without touching the network.

        Raises:
            DataError: it is not there or not whole; the message says what, from where, how large.
        """

    def fetch(self) -> Path:
        """Return where it lies after downloading and verifying it, if it was not there.

        Raises:
            DataError: it cannot be fetched, or is not what was published.
        """

    def digest(self) -> str:
        """Return the sha256 of its content, wherever it lies; raises as `find`."""


# ------------------------------------------------------------------------------ data and players


class Dataset(Protocol):
    """Where the training examples come from."""

    def digest(self) -> str:
        """Return the sha256 of everything that the other methods return."""

    def columns(self) -> Mapping[str, NDArray]:
        """Return what is known of each training example: name -> array (n_examples,)."""

    def training_images(self) -> torch.Tensor:
        """Return the training images, uint8 (n_examples, channels, height, width)."""

    def reference_images(self) -> torch.Tensor:
        """Return held-out real images, uint8 (n_reference, channels, height, width)."""

    def reference_labels(self) -> NDArray[np.int64] | None:
        """Return the class of each reference image, (n_reference,), or None if unknown."""


class Partitioner(Protocol):
    """How the examples are dealt to contributors."""

    def partition(self, columns: Mapping[str, NDArray]) -> Partition:
        """Return the contributors, given the columns of the dataset."""


# ------------------------------------------------------------------------------ models (torch)


class DiffusionModel(Protocol):
    """A family of diffusion models: its architecture, its latent space, its noise process."""

    training: Any
    """The `crediting.training.Recipe` by which the full model is trained."""

    conditional: ClassVar[bool]
    """Whether the denoiser reads prompts: the captions of its examples, later those to draw."""

    encoder_settings: ClassVar[tuple[str, ...]]
    """The keys of its config that `encode` and `embed` depend on; others never re-encode."""

    def untrained(self, seed: int) -> torch.nn.Module:
        """Return the denoiser before any training, on the CPU: random, or as pretrained."""

    def reinitialise(self, denoiser: torch.nn.Module, seed: int) -> torch.nn.Module:
        """Return a copy of the same shape (pruned or not) as it was before any training.

        If there is none of fewer channels, an attribute `only_as_published` is True.

        Raises:
            ConfigError: there is no such thing, as for a pruned pretrained U-Net.
        """

    def example_inputs(self, denoiser: torch.nn.Module) -> dict[str, Any]:
        """Return keyword arguments of one call for one example, on the denoiser's device.

        They are `sample`, `timestep` and, if it is conditional, `encoder_hidden_states`.
        """

    def prunable(self, denoiser: torch.nn.Module) -> Prunable:
        """Return what the pruning of channels must know of a denoiser of this family.

        Raises:
            ConfigError: its channels cannot be pruned; the message says what can.
        """

    def encode(self, images: torch.Tensor, columns: Mapping[str, NDArray]) -> Examples:
        """Return training images, uint8 (N, C, H, W), in model space, on their device.

        `columns` are those of the dataset; a conditional model reads `caption`.
        """

    def embed(self, prompts: Sequence[str], device: torch.device) -> torch.Tensor:
        """Return what a conditional denoiser reads for prompts, (len(prompts), tokens, width)."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return points of model space as images, uint8 (N, C, H, W), on their device."""

    def latent_shape(self) -> tuple[int, ...]:
        """Return the shape of one point of model space."""

    def noise_scheduler(self) -> Any:
        """Return the diffusers noise scheduler that defines the forward process."""

    def save(self, folder: Path, denoiser: torch.nn.Module, name: str) -> None:
        """Write a denoiser's weights as `<name>.safetensors` and whatever tells its shape."""

    def load(self, folder: Path, name: str) -> torch.nn.Module:
        """Return what `save` wrote, on the CPU, trainable parameters requiring gradients.

        Raises:
            ArtifactError: a file is missing, cannot be read, or does not fit the others.
        """


class Prunable(NamedTuple):
    """What the pruning of channels needs: layers to spare, heads of attention to keep whole."""

    ignored_layers: list[torch.nn.Module]
    num_heads: dict[torch.nn.Module, int]


class TimestepLoss(Protocol):
    """The training loss at one timestep, for pruning methods that look at gradients."""

    n_timesteps: int

    def __call__(self, denoiser: torch.nn.Module, timestep: int, examples: int) -> torch.Tensor:
        """Return the mean loss, a scalar, over so many examples: always the same, same noise."""


class PruningReport(NamedTuple):
    """Size before and after pruning: trainable parameters, multiply-adds for one example."""

    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int

    @property
    def realised_ratio(self) -> float:
        """Share of the parameters that is gone."""
        return 1 - self.parameters_after / self.parameters_before


class Pruning(Protocol):
    """How the full model is made smaller.

    If it removes channels, a class attribute `removes_channels` is True.
    """

    recovery: Any
    """The `crediting.training.Recipe` of the fine-tuning on all data afterwards, or None."""

    def check(self, denoiser: torch.nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if it cannot prune such a denoiser; called before anything is trained.

        It takes seconds at most, and leaves the denoiser, untrained and on the CPU, as it is.
        """

    def prune(
        self, denoiser: torch.nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[torch.nn.Module, PruningReport]:
        """Return the smaller denoiser (weights inherited, not yet recovered) and a report.

        Raises:
            ConfigError: it cannot prune such a denoiser; the message says what can.
        """


class FineTuning(Protocol):
    """How a coalition's model is obtained.

    If the number of steps depends on the coalition, a class attribute `steps_vary` is True.
    """

    recipe: Any
    """The `crediting.training.Recipe` of one coalition's training, or None if there is none."""

    def check(self, denoiser: torch.nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if it cannot train such a denoiser; called before anything is trained.

        It takes seconds at most, and leaves the denoiser, untrained and not pruned, as it is.
        """

    def coalition_model(
        self, start: StartingPoint, kept: torch.Tensor, removed: torch.Tensor
    ) -> torch.nn.Module | Training:
        """Return the denoiser to generate with, or the training that makes it.

        `kept` are the indices of the examples that the coalition owns, `removed` all others;
        int64, sorted. If none is kept, that stands for the untrained model.
        """


class StartingPoint(Protocol):
    """What a fine-tuning may start from; every denoiser returned is fresh and on the device."""

    def trained(self) -> torch.nn.Module:
        """Return the full (pruned, recovered) denoiser, raw weights."""

    def averaged(self) -> torch.nn.Module:
        """Return the same denoiser with its averaged (EMA) weights."""

    def untrained(self) -> torch.nn.Module:
        """Return a denoiser of the same shape with untrained weights."""

    def gradients(
        self, denoiser: torch.nn.Module, examples: torch.Tensor, batch_size: int, *, draw: int
    ) -> Iterator[BatchGradient]:
        """Yield the loss and its gradient batch by batch.

        Every example is visited once, at a timestep and with noise of its own, which are others
        for every `draw`.
        """


class Generation(Protocol):
    """How images are drawn from a denoiser."""

    images: int
    steps: int
    prompts: Sequence[str] | str | None
    """What a conditional model draws, in turn; "captions" are those of the dataset."""

    def at_once(self, device: str) -> int:
        """Return how many images are drawn at once on a kind of device (cpu, cuda)."""

    def check(self, model: DiffusionModel) -> None:
        """Raise ConfigError if it cannot draw from such a model; called before any is trained."""

    def generate(
        self,
        denoiser: torch.nn.Module,
        model: DiffusionModel,
        seed: int,
        prompts: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return images, uint8 (images, C, H, W), on the device of the denoiser.

        `prompts` are embedded, (1 + k, tokens, width), the empty prompt first; image i shows
        prompt 1 + i % k.
        """


class Features(NamedTuple):
    """What an extractor says of N images, float64; what it does not give is None."""

    embeddings: torch.Tensor | None = None
    """(N, d)"""
    logits: torch.Tensor | None = None
    """Of k classes, (N, k)."""
    scores: torch.Tensor | None = None
    """One number per image, (N,)."""


class Extractor(Protocol):
    """A fixed network that turns images into features.

    One whose scores say how well an image shows the prompt that it was drawn from has an attribute
    `prompts`: those that are drawn from in turn, or None.

    If it has a method `check(dataset)`, that is called before anything is made, and raises
    CreditingError if it cannot be fitted to such a dataset.
    """

    gives: ClassVar[tuple[str, ...]]
    """Which fields of `Features` it fills."""

    def fit(self, images: torch.Tensor, labels: NDArray[np.int64] | None, folder: Path) -> None:
        """Put under a folder what `load` needs; published networks need nothing there.

        `images` are the reference images, uint8 (N, C, H, W), on the device to work on.
        """

    def load(self, folder: Path) -> torch.nn.Module:
        """Return the network, on the CPU, ready for use."""

    def features(self, network: torch.nn.Module, images: torch.Tensor) -> Features:
        """Return the features of images, uint8 (N, C, H, W), on their device."""


class Property(Protocol):
    """A global property: one number about all images that a model generates.

    One that takes many images may have a method `advice`, which is told how many there are and
    shown the reference's `Features`, and returns what to tell the user of them, or None.
    """

    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]
    needs: ClassVar[str]
    """The field of `Features` that it reads."""

    extractor: str | None
    """The extractor it reads, or None for the first chosen one that gives what it needs."""

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure, with whatever it needs of the reference images precomputed."""


# ------------------------------------------------------------------------------ baselines


class Material(Protocol):
    """What a baseline may look at: the data, the full model as trained, and its images.

    Examples are in the order of the dataset, always; tensors are on `device`.
    """

    seed: int
    device: torch.device
    contributors: NDArray[np.int64]
    """Which contributor each example belongs to, (N,); -1 for nobody's."""
    n_contributors: int
    model: DiffusionModel
    generation: Generation
    properties: Mapping[str, Property]

    def training_images(self) -> torch.Tensor:
        """Return the training images, uint8 (N, C, H, W), on the CPU."""

    def generated_images(self) -> torch.Tensor:
        """Return images by the full model, uint8 (K, C, H, W), as `generation` draws them."""

    def features(self, extractor: str | None, which: str) -> Features:
        """Return an extractor's features of the images, `which` being training or generated.

        None stands for the first chosen extractor that gives embeddings.

        Raises:
            ConfigError: it is not among the chosen ones, or none gives embeddings.
        """

    def reader(self, name: str) -> str:
        """Return the extractor that a property reads."""

    def measure(self, name: str, features: Features) -> float:
        """Return a property of images, given their features by the extractor it reads."""

    def examples(self, which: str) -> Examples:
        """Return the training or the generated images in model space, with their captions."""

    def prompts(self) -> torch.Tensor | None:
        """Return the embedded prompts, as `Generation.generate` reads them."""

    def denoiser(self) -> torch.nn.Module:
        """Return a fresh copy of the full denoiser with its averaged weights, for evaluation."""

    def remember(
        self, what: str, settings: Mapping[str, Any], compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Return what `compute` gives, from the store if it was computed with these settings."""


class Planned(Protocol):
    """What is known of a study before anything of it is made."""

    @property
    def dataset(self) -> Dataset:
        """The training examples and the reference."""

    @property
    def model(self) -> DiffusionModel:
        """The model."""

    @property
    def generation(self) -> Generation:
        """How its images are drawn."""

    @property
    def extractors(self) -> Mapping[str, Extractor]:
        """The chosen ones, by name."""

    @property
    def properties(self) -> Mapping[str, Property]:
        """The chosen ones, by name."""

    @property
    def readers(self) -> Mapping[str, str]:
        """The extractor that each property reads."""

    @property
    def partition(self) -> Partition:
        """The contributors."""

    @property
    def drawn_prompts(self) -> Sequence[str]:
        """The prompts that images show, in turn; none where the model reads none."""


class Baseline(Protocol):
    """A score for every contributor, without the model of any coalition.

    If it has a method `check(planned)`, that is called before anything is trained, and raises
    ConfigError if the baseline cannot work with a study; its message begins with the key. So does a
    method `try_out(material)`, called when examples and prompts are encoded, and they alone there.
    One that measures properties, of a fixed number of images, has that number as an attribute
    `images`: that so many suffice is tried before anything is trained, too.

    One that also has a method `utilities(material, coalitions)`, giving arrays (m,) by property for
    coalitions (m, n), is a proxy: its utilities are held against those of retrained models.
    """

    def scores(self, material: Material) -> NDArray[np.float64] | Mapping[str, NDArray[np.float64]]:
        """Return the scores, (n,): one for all properties, or by property.

        The higher, the more a contributor is said to do for the property, whichever way the
        property improves.
        """


# ------------------------------------------------------------------------------ the game (numpy)


class Design(Protocol):
    """Which coalitions are evaluated; prefix-stable in its budget.

    Only a dataclass with a field `budget` can be ended early by the rules of `stop`. A class
    attribute `like` may name a built-in design: who can use that one can use this one, too. Its
    coalitions must then have the same structure, such as pairs, and true log-probabilities.
    """

    name: ClassVar[str]

    def sample(self, n_players: int) -> Sample:
        """Return the coalitions in order of evaluation, with their log-probabilities."""


class Estimator(Protocol):
    """A pure function from evaluated coalitions to credits.

    One whose credits are not Shapley values says what they are in a class attribute `estimates`;
    they are then not held against exact Shapley values. One that cannot do without certain
    coalitions has a method `require`, which is shown those drawn, (m, n), before any is evaluated
    and raises LedgerError if one of them is missing. One that knows how many are of use has a
    method `advice`, which is shown them, too, and returns what to tell the user of them, or None.
    """

    name: ClassVar[str]
    designs: ClassVar[tuple[str, ...]]
    """Names of the designs whose coalitions it can use."""

    def minimum_coalitions(self, n_players: int) -> int:
        """Return the least number of coalitions in a design with which it can work."""

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits."""


# ------------------------------------------------------------------------------ evaluation


@dataclass(frozen=True)
class Task:
    """One coalition to evaluate, by its canonical key, and the properties still to be measured."""

    coalition: str
    replicate: int
    properties: tuple[str, ...]


Job = tuple[Task, ...]
"""Tasks that one evaluator is given together, because together they may take less time."""


@dataclass(frozen=True)
class Outcome:
    """What came of a task: values by property, or the traceback of each failure.

    `failures` is keyed by property, or by "" when no image could be generated at all.
    """

    task: Task
    values: Mapping[str, float]
    failures: Mapping[str, str]
    seed: int
    seconds: float
    device: str
    """Device and precision, such as "cpu fp32"."""


class Evaluator(Protocol):
    """Evaluates coalitions; built once in every worker, where it loads its models and data."""

    def __call__(self, job: Job) -> Sequence[Outcome]:
        """Return an outcome for each task; never raises for a failure of a task itself."""


class EvaluatorFactory(Protocol):
    """Makes an evaluator where it works, and names it so that another process knows it again."""

    @property
    def identity(self) -> str:
        """A file name for all that outcomes depend on besides their tasks."""

    def __call__(self) -> Evaluator:
        """Return the evaluator."""


class Executor(Protocol):
    """Where coalitions are evaluated.

    If it has a method `check()`, that is called before anything is trained, and raises ConfigError
    if coalitions cannot be evaluated there.
    """

    def run(
        self, make_evaluator: Callable[[], Evaluator], jobs: Sequence[Job]
    ) -> Generator[Outcome, None, None]:
        """Yield one outcome per task, in any order, as soon as each is there.

        If `make_evaluator` is an EvaluatorFactory, what a killed process left may count.
        Jobs are begun in the order given. Closing the generator stops all work at once.
        """

    def sized(self, capacity: int, devices: Sequence[str] = ()) -> Executor:
        """Return the executor for a machine that can well hold so many evaluators at once.

        `devices` are its GPUs, each as CUDA_VISIBLE_DEVICES names it; none: work on the CPU.
        """

    def width(self) -> int:
        """Return how many coalitions are evaluated at once, given enough of them."""
