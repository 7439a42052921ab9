"""The game itself: obtain a coalition's model, generate images, measure their properties."""

import copy
import hashlib
import math
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from crediting.errors import ArtifactError, ConfigError, EvaluationError
from crediting.game.coalition import coalition_from_key
from crediting.interfaces import Features, Outcome, Task
from crediting.models.checkpoint import load_denoiser, load_weights, save_weights
from crediting.pipeline.artifact import completed
from crediting.pipeline.extract import load_reference
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import GameSpec, Study
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

    def train(self, denoiser: nn.Module, recipe: Recipe, examples: torch.Tensor) -> nn.Module:
        """Train in place and return the denoiser with its averaged weights."""
        stream = Stream("coalition", self._game.study.seed, self._replicate)
        averaged = self._game.trainer.train(denoiser, recipe, examples, stream)
        denoiser.load_state_dict(averaged, strict=False)
        return denoiser


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
        latents = study.model.encode(study.dataset.training_images().to(self._device))
        self.trainer = Trainer(latents, study.model.noise_scheduler(), self._accelerator)
        self._start = completed(study, spec.start, "prune")
        extracted = completed(study, study.extracted, "extract")
        self._network = study.extractor.load(extracted).to(self._device)
        reference = load_reference(extracted, self._device)
        self._measures = {name: p.bind(reference) for name, p in study.properties.items()}
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
            features = self.study.extractor.features(self._network, images)
        except (OSError, ArtifactError, ConfigError):
            raise
        except Exception:
            failures[""] = traceback.format_exc()
        else:
            for name in task.properties:
                try:
                    values[name] = _finite(name, self._measures[name], features)
                except Exception:
                    failures[name] = traceback.format_exc()
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
        """Return a fresh copy of the starting denoiser on the device; files are read once."""
        if weights not in self._loaded:
            self._loaded[weights] = load_denoiser(self._start, weights).to(self._device)
        return copy.deepcopy(self._loaded[weights])

    def _generate(self, coalition: str, replicate: int) -> torch.Tensor:
        row = coalition_from_key(coalition)
        examples = torch.from_numpy(self.study.partition.examples(row)).to(self._device)
        start = CoalitionStart(self, replicate)
        denoiser = self._spec.finetuning.coalition_model(start, examples)
        with self._accelerator.autocast():
            return self.study.generation.generate(
                denoiser, self.study.model, self._generation_seed(replicate)
            )

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


def _finite(name: str, measure: Callable[[Features], float], features: Features) -> float:
    value = float(measure(features))
    if not math.isfinite(value):
        raise EvaluationError(
            f"property {name} is {value}: the images of this coalition's model are degenerate, "
            "which usually means that its training diverged; lower the learning rate"
        )
    return value
