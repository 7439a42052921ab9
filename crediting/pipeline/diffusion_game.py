"""The game itself: obtain a coalition's model, generate images, measure their properties."""

import copy
import hashlib
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from crediting.errors import ArtifactError, ConfigError
from crediting.game.coalition import coalition_from_key
from crediting.interfaces import Outcome, Task
from crediting.models.checkpoint import load_weights, save_weights
from crediting.pipeline.address import GameSpec
from crediting.pipeline.artifact import completed
from crediting.pipeline.encode import load_examples, load_prompts
from crediting.pipeline.gauges import Gauges
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import Study
from crediting.pipeline.train import AVERAGED, RAW
from crediting.randomness import Stream, derive_seed
from crediting.training import Recipe, Trainer


class CoalitionStart:
    """What a fine-tuning starts from, for one replicate; see interfaces.StartingPoint.

    The streams of batches, noise and initial weights do not depend on the coalition: they are
    common random numbers, so that differences of utilities are not differences of luck.
    """

    def __init__(self, game: "DiffusionGame", replicate: int) -> None:
        self._game = game
        self._replicate = replicate

    def trained(self) -> nn.Module:
        """Return the stored denoiser with its raw weights."""
        return self._game.stored(RAW)

    def averaged(self) -> nn.Module:
        """Return the stored denoiser with its averaged weights."""
        return self._game.stored(AVERAGED)

    def untrained(self) -> nn.Module:
        """Return a denoiser of the stored shape with untrained weights."""
        seed = derive_seed("initialise", self._game.study.seed, self._replicate)
        return self._game.study.model.reinitialise(self.trained(), seed)

    def train(
        self,
        denoiser: nn.Module,
        recipe: Recipe,
        examples: torch.Tensor,
        *,
        ascend: bool = False,
        rate_factors: Mapping[str, float] | None = None,
    ) -> nn.Module:
        """Train in place and return the denoiser with its averaged weights."""
        averaged = self._game.trainer.train(
            denoiser, recipe, examples, self._stream, ascend=ascend, rate_factors=rate_factors
        )
        denoiser.load_state_dict(averaged, strict=False)
        return denoiser

    def gradients(
        self, denoiser: nn.Module, examples: torch.Tensor, batch_size: int, *, draw: int
    ) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
        """Yield the size of each batch and the gradient of its mean loss by parameter name."""
        stream = self._stream.at("gradients", draw)
        return self._game.trainer.gradients(denoiser, examples, batch_size, stream)

    @property
    def _stream(self) -> Stream:
        return Stream("coalition", self._game.study.seed, self._replicate)


class DiffusionGame:
    """Evaluates coalitions; models, data and reference features are loaded once.

    It fits interfaces.Evaluator. An outcome is a function of the task alone, so it does not
    matter which worker evaluates which coalition, or in which order.
    """

    def __init__(self, study: Study, spec: GameSpec) -> None:
        self.study = study
        self._spec = spec
        self._accelerator: Accelerator = open_machine(study.runtime)
        self._device = self._accelerator.device
        examples = load_examples(study, self._device)
        self.trainer = Trainer(examples, study.model.noise_scheduler(), self._accelerator)
        self._prompts = load_prompts(study, self._device)
        self._start = completed(study, spec.start, "prune")
        self._gauges = Gauges(study, self._device)
        self._loaded: dict[str, nn.Module] = {}

    def __call__(self, task: Task) -> Outcome:
        """Evaluate one coalition; what fails is reported in the outcome, not raised.

        Raises:
            OSError, ArtifactError: a file cannot be read or written,
            ConfigError: or a setting cannot work, which is no fault of the coalition.
        """
        started = time.perf_counter()
        values: dict[str, float] = {}
        failures: dict[str, str] = {}
        try:
            keep = self.study.runtime["keep_images"]
            images = self.images(task.coalition, task.replicate, keep)
            for name, outcome in self._gauges.measure(images, task.properties):
                if isinstance(outcome, float):
                    values[name] = outcome
                else:
                    failures[name] = outcome
        except (OSError, ArtifactError, ConfigError):
            raise
        except Exception:
            failures[""] = traceback.format_exc()
        return Outcome(
            task,
            values,
            failures,
            seed=self._generation_seed(task.replicate),
            seconds=time.perf_counter() - started,
            device=f"{self._device} {self.study.runtime['precision']}",
        )

    def images(self, coalition: str, replicate: int, keep: bool) -> torch.Tensor:
        """Return a coalition's images, uint8 (N, C, H, W): the kept ones, or newly generated."""
        kept = images_path(self.study, self._spec, coalition, replicate)
        if kept.exists():
            return read_images(kept).to(self._device)
        images = self._generate(coalition, replicate)
        if keep:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_weights(kept, {"images": images})
        return images

    def stored(self, weights: str) -> nn.Module:
        """Return a fresh copy of the starting denoiser on the device; files are read once.

        Frozen parameters, such as those under a LoRA, are shared: nobody changes them.
        """
        if weights not in self._loaded:
            loaded = self.study.model.load(self._start, weights)
            self._loaded[weights] = loaded.to(self._device)
        original = self._loaded[weights]
        frozen = {id(p): p for p in original.parameters() if not p.requires_grad}
        return copy.deepcopy(original, frozen)

    def _generate(self, coalition: str, replicate: int) -> torch.Tensor:
        row = coalition_from_key(coalition)
        kept, removed = (
            torch.from_numpy(self.study.partition.examples(side)).to(self._device)
            for side in (row, ~row)
        )
        start = CoalitionStart(self, replicate)
        denoiser = self._spec.finetuning.coalition_model(start, kept, removed)
        seed = self._generation_seed(replicate)
        with self._accelerator.autocast():
            return self.study.generation.generate(denoiser, self.study.model, seed, self._prompts)

    def _generation_seed(self, replicate: int) -> int:
        return derive_seed("generation", self.study.seed, replicate)


def images_path(study: Study, spec: GameSpec, coalition: str, replicate: int) -> Path:
    """Return where a coalition's images are kept; its key is hashed, as it outgrows file names."""
    digest = hashlib.sha256(coalition.encode()).hexdigest()[:24]
    return study.stored_in(spec.address) / "images" / f"{digest}-{replicate}.safetensors"


def read_images(kept: Path) -> torch.Tensor:
    """Return kept images, uint8 (N, C, H, W), on the CPU.

    Raises:
        ArtifactError: the file is damaged.
    """
    try:
        return load_weights(kept)["images"]
    except (ArtifactError, KeyError) as error:
        raise ArtifactError(
            f"{kept}: these kept images cannot be read. Delete this one file and run the same "
            "command again: they are generated anew"
        ) from error
