"""The game itself: obtain a coalition's model, generate images, measure their properties."""

import hashlib
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from crediting.errors import (
    ANY_FAILURE,
    NO_FAULT_OF_A_COALITION,
    ArtifactError,
    DeviceLostError,
)
from crediting.game.coalition import coalition_from_key
from crediting.interfaces import Job, Outcome, Task
from crediting.ledger import fingerprint, short
from crediting.models.checkpoint import load_weights, save_weights
from crediting.pipeline.address import GameSpec
from crediting.pipeline.artifact import completed
from crediting.pipeline.encode import load_prompts
from crediting.pipeline.evaluate.coalition_models import CoalitionModels, Made
from crediting.pipeline.extract.gauges import Gauges
from crediting.pipeline.machine import open_machine
from crediting.pipeline.memory import Watch
from crediting.pipeline.study import Study
from crediting.pipeline.train import open_trainer
from crediting.randomness import derive_seed
from crediting.training.cuda_graphs import ReplayedDenoiser


class Drawn(NamedTuple):
    """A coalition's images, or the traceback of why there are none, and the seconds it took."""

    images: torch.Tensor | None
    failure: str
    seconds: float


class DiffusionGame:
    """Evaluates coalitions; models, data and reference features are loaded once.

    It fits interfaces.Evaluator. An outcome is a function of the task alone, so it does not
    matter which worker evaluates which coalition, or in which order.
    """

    def __init__(self, study: Study, spec: GameSpec) -> None:
        self.study = study
        self._spec = spec
        self._device = open_machine(study.runtime).device
        self.trainer = open_trainer(study)
        self._prompts = load_prompts(study, self._device)
        start = completed(study, spec.start, "prune")
        self.models = CoalitionModels(study, spec, start, self.trainer)
        self._gauges = Gauges(study, self._device)
        self._watch = Watch()
        self._calls: ReplayedDenoiser | None = None

    def __call__(self, job: Job) -> list[Outcome]:
        """Evaluate coalitions; what fails is reported in the outcome, not raised.

        Raises:
            OSError, ArtifactError: a file cannot be read or written,
            ConfigError: or a setting cannot work,
            DeviceLostError: or the GPU answers no more, which are no faults of the coalition.
        """
        outcomes: list[Outcome] = []
        for replicate, tasks in groupby(job, lambda task: task.replicate):
            together = list(tasks)
            drawn = self.draw([task.coalition for task in together], replicate)
            outcomes += map(self._measure, together, drawn)
            if self._calls is not None:
                self._calls.forget()  # the next trainings need the memory
        if any(outcome.failures for outcome in outcomes):
            self._check_device()
        self._watch.look()
        return outcomes

    def _check_device(self) -> None:
        """Raise DeviceLostError if all that comes after would fail on this GPU, too."""
        if self._device.type != "cuda":
            return
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            raise DeviceLostError(
                f"the GPU stopped responding ({str(error).splitlines()[0]}), and this process "
                "cannot use it again. Nothing recorded so far is lost: run the same command again "
                "to continue"
            ) from error

    def images(self, coalition: str, replicate: int, keep: bool) -> torch.Tensor:
        """Return a coalition's images, uint8 (N, C, H, W): the kept ones, or newly generated."""
        kept = images_path(self.study, self._spec, coalition, replicate)
        if kept.exists():
            return read_images(kept).to(self._device)
        denoiser = self.models.one(coalition_from_key(coalition), replicate)
        return self._generate(denoiser, coalition, replicate, keep)

    def draw(self, coalitions: Sequence[str], replicate: int) -> Iterator[Drawn]:
        """Yield the images of each coalition, or what failed, in order."""
        new = [
            key
            for key in coalitions
            if not images_path(self.study, self._spec, key, replicate).exists()
        ]
        made = self.models.make([coalition_from_key(key) for key in new], replicate)
        for key in coalitions:
            yield self._drawn(key, replicate, next(made) if key in new else None)

    def _drawn(self, coalition: str, replicate: int, made: Made | None) -> Drawn:
        started = time.perf_counter()
        images, failure = None, made.failure if made else ""
        try:
            if made is None:
                path = images_path(self.study, self._spec, coalition, replicate)
                images = read_images(path).to(self._device)
            elif made.denoiser is not None:
                keep = self.study.runtime["keep_images"]
                images = self._generate(made.denoiser, coalition, replicate, keep)
        except NO_FAULT_OF_A_COALITION:
            raise
        except ANY_FAILURE:
            failure = traceback.format_exc()
        seconds = time.perf_counter() - started + (made.seconds if made else 0.0)
        return Drawn(images, failure, seconds)

    def _measure(self, task: Task, drawn: Drawn) -> Outcome:
        started = time.perf_counter()
        values: dict[str, float] = {}
        failures: dict[str, str] = {"": drawn.failure} if drawn.failure else {}
        if drawn.images is not None:
            for name, outcome in self._gauges.measure(drawn.images, task.properties):
                if isinstance(outcome, float):
                    values[name] = outcome
                else:
                    failures[name] = outcome
        return Outcome(
            task,
            values,
            failures,
            seed=self._generation_seed(task.replicate),
            seconds=drawn.seconds + time.perf_counter() - started,
            device=f"{self._device} {self.study.runtime['precision']}",
        )

    def _generate(
        self, denoiser: nn.Module, coalition: str, replicate: int, keep: bool
    ) -> torch.Tensor:
        seed = self._generation_seed(replicate)
        with self.trainer.autocast():
            images = self.study.generation.generate(
                self._called(denoiser), self.study.model, seed, self._prompts
            )
        if keep:
            path = images_path(self.study, self._spec, coalition, replicate)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_weights(path, {"images": images})
        return images

    def _called(self, denoiser: nn.Module) -> nn.Module:
        """Return what a denoiser's predictions come from: its compiled or its recorded calls."""
        if self._calls is not None and self._calls.fits(denoiser):
            self._calls.take(denoiser)
        else:
            if self._calls is not None:
                self._calls.forget()
            self._calls = self.trainer.replayed(denoiser)
        return self.trainer.compiled(denoiser) if self._calls is None else self._calls

    def _generation_seed(self, replicate: int) -> int:
        return derive_seed("generation", self.study.seed, replicate)


@dataclass(frozen=True)
class GameFactory:
    """Makes the evaluator of a game of a study; an `interfaces.EvaluatorFactory`."""

    study: Study
    spec: GameSpec

    @property
    def identity(self) -> str:
        """What outcomes depend on besides their tasks: the game, and how properties measure.

        And the ledger that they are for: who deletes it means to evaluate anew.
        """
        measured = fingerprint("measured", self.study.property_fingerprints)
        with self.study.ledger(self.spec) as ledger:
            game = short(self.spec.address.fingerprint)
            return f"game-{game}-{short(measured)}-{ledger.birth:08x}"

    def __call__(self) -> DiffusionGame:
        """Return the evaluator."""
        return DiffusionGame(self.study, self.spec)


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
