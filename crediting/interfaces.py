"""Every extension point on one page.

A config group names a class by `_target_`; the class fits the protocol below. Constructors take
plain arguments only (numbers, strings, lists, mappings) and do no work, so that a study can be
checked before anything runs and can be sent to workers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
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


# ------------------------------------------------------------------------------ heavy row


class DiffusionModel(Protocol):
    """A family of diffusion models: its architecture, its latent space, its noise process."""

    training: Any
    """The `crediting.training.Recipe` by which the full model is trained."""

    def untrained(self, seed: int) -> torch.nn.Module:
        """Return a randomly initialised denoiser on the CPU."""

    def reinitialise(self, denoiser: torch.nn.Module, seed: int) -> torch.nn.Module:
        """Return a copy of the same shape (pruned or not) with untrained weights."""

    def prunable(self, denoiser: torch.nn.Module) -> Prunable:
        """Return what a pruning method must know of a denoiser of this family."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return images, uint8 (N, C, H, W), in model space, float32."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return points of model space as images, uint8 (N, C, H, W), on their device."""

    def latent_shape(self) -> tuple[int, ...]:
        """Return the shape of one point of model space."""

    def noise_scheduler(self) -> Any:
        """Return the diffusers noise scheduler that defines the forward process."""


class Prunable(NamedTuple):
    """What pruning needs: inputs that trace the denoiser, layers to spare, heads to keep whole."""

    example_inputs: dict[str, Any]
    ignored_layers: list[torch.nn.Module]
    num_heads: dict[torch.nn.Module, int]


class PruningReport(NamedTuple):
    """Size of a denoiser before and after pruning; multiply-adds for one example."""

    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int

    @property
    def realised_ratio(self) -> float:
        """Share of the parameters that is gone."""
        return 1 - self.parameters_after / self.parameters_before


class Pruning(Protocol):
    """How the full model is made smaller."""

    recovery: Any
    """The `crediting.training.Recipe` of the fine-tuning on all data afterwards, or None."""

    def prune(
        self, denoiser: torch.nn.Module, model: DiffusionModel
    ) -> tuple[torch.nn.Module, PruningReport]:
        """Return the smaller denoiser (weights inherited, not yet recovered) and a report."""


class FineTuning(Protocol):
    """How a coalition's model is obtained."""

    recipe: Any
    """The `crediting.training.Recipe` of one coalition's training."""

    def coalition_model(self, start: StartingPoint, examples: torch.Tensor) -> torch.nn.Module:
        """Return the denoiser to generate with.

        `examples` are the indices that the coalition owns, int64, sorted; they may be empty,
        which stands for the untrained model.
        """


class StartingPoint(Protocol):
    """What a fine-tuning may start from; every call returns a fresh denoiser on the device."""

    def trained(self) -> torch.nn.Module:
        """Return the full (pruned, recovered) denoiser, raw weights."""

    def averaged(self) -> torch.nn.Module:
        """Return the same denoiser with its averaged (EMA) weights."""

    def untrained(self) -> torch.nn.Module:
        """Return a denoiser of the same shape with untrained weights."""

    def train(
        self, denoiser: torch.nn.Module, recipe: Any, examples: torch.Tensor
    ) -> torch.nn.Module:
        """Train in place on the examples and return the denoiser with averaged weights."""


class Generation(Protocol):
    """How images are drawn from a denoiser."""

    images: int
    steps: int
    batch_size: int

    def generate(self, denoiser: torch.nn.Module, model: DiffusionModel, seed: int) -> torch.Tensor:
        """Return images, uint8 (images, C, H, W), on the device of the denoiser."""


class Features(NamedTuple):
    """What an extractor says of N images: embeddings (N, d) and class logits (N, k), float64."""

    embeddings: torch.Tensor
    logits: torch.Tensor


class Extractor(Protocol):
    """A fixed network that turns images into features."""

    def fit(self, images: torch.Tensor, labels: NDArray[np.int64] | None) -> torch.nn.Module:
        """Return the network, trained on the reference images where it needs training."""

    def load(self, folder: Path) -> torch.nn.Module:
        """Return the network that was stored under a folder."""

    def features(self, network: torch.nn.Module, images: torch.Tensor) -> Features:
        """Return the features of images, uint8 (N, C, H, W), on their device."""


class Property(Protocol):
    """A global property: one number about all images that a model generates."""

    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure, with whatever it needs of the reference images precomputed."""


# ------------------------------------------------------------------------------ game row


class Design(Protocol):
    """Which coalitions are evaluated; prefix-stable in its budget."""

    name: ClassVar[str]

    def sample(self, n_players: int) -> Sample:
        """Return the coalitions in order of evaluation, with their log-probabilities."""


class Estimator(Protocol):
    """A pure function from evaluated coalitions to credits."""

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

    def __call__(self, task: Task) -> Outcome:
        """Return the outcome; never raises for a failure of the task itself."""


class Executor(Protocol):
    """Where coalitions are evaluated."""

    def run(
        self, make_evaluator: Callable[[], Evaluator], tasks: Sequence[Task]
    ) -> Generator[Outcome, None, None]:
        """Yield one outcome per task, in any order, as soon as each is there.

        Closing the generator stops all work at once.
        """

    def sized(self, capacity: int) -> Executor:
        """Return the executor for a machine that can well hold so many evaluators at once."""

    def width(self) -> int:
        """Return how many coalitions are evaluated at once, given enough of them."""


__all__ = [
    "Dataset",
    "Design",
    "DiffusionModel",
    "Estimator",
    "Evaluator",
    "Executor",
    "Extractor",
    "Features",
    "FineTuning",
    "Generation",
    "Outcome",
    "Partitioner",
    "Property",
    "Prunable",
    "Pruning",
    "PruningReport",
    "StartingPoint",
    "Task",
]
