"""Coalitions' denoisers: trainings of one kind are done together, all others one by one."""

import copy
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crediting.errors import ArtifactError, ConfigError
from crediting.pipeline.address import GameSpec
from crediting.pipeline.machine import placed
from crediting.pipeline.study import Study
from crediting.pipeline.train import AVERAGED, RAW
from crediting.randomness import Stream, derive_seed
from crediting.recipe import Training
from crediting.stacking import can_stack, train_stacked
from crediting.training import Trainer


class Made(NamedTuple):
    """A coalition's denoiser, or the traceback of why there is none, and the seconds it took."""

    denoiser: nn.Module | None
    failure: str
    seconds: float


class CoalitionModels:
    """Makes the denoisers of a game.

    Args:
        study: whose game it is.
        spec: the game.
        folder: of the stored denoiser that fine-tunings start from.
        trainer: with all examples on its device.
    """

    def __init__(self, study: Study, spec: GameSpec, folder: Path, trainer: Trainer) -> None:
        self._study = study
        self._finetuning = spec.finetuning
        self._folder = folder
        self._trainer = trainer
        self._loaded: dict[str, nn.Module] = {}

    def make(self, rows: Sequence[NDArray[np.bool_]], replicate: int) -> Iterator[Made]:
        """Yield what became of each coalition (n,), in order.

        Raises:
            OSError, ArtifactError: a file cannot be read,
            ConfigError: or a setting cannot work, which is no fault of a coalition.
        """
        if len(rows) > 1:
            together = self._together(rows, replicate)
            if together is not None:
                yield from together
                return
        for row in rows:
            yield self._alone(row, replicate)

    def one(self, row: NDArray[np.bool_], replicate: int) -> nn.Module:
        """Return the denoiser of a coalition (n,)."""
        asked = self.ask(row, replicate)
        if not isinstance(asked, Training):
            return asked
        return _finished(asked, train(self._trainer, asked, self._start(replicate).stream))

    def ask(self, row: NDArray[np.bool_], replicate: int) -> nn.Module | Training:
        """Return what the fine-tuning makes of a coalition (n,), or how it wants it trained."""
        kept, removed = (
            torch.from_numpy(self._study.partition.examples(side)).to(self._trainer.device)
            for side in (row, ~row)
        )
        return self._finetuning.coalition_model(self._start(replicate), kept, removed)

    def stored(self, weights: str) -> nn.Module:
        """Return a fresh copy of the starting denoiser on the device; files are read once.

        Frozen parameters, such as those under a LoRA, are shared: nobody changes them.
        """
        if weights not in self._loaded:
            loaded = self._study.model.load(self._folder, weights)
            self._loaded[weights] = placed(loaded, self._trainer.device, self._study.runtime)
        original = self._loaded[weights]
        frozen = {id(p): p for p in original.parameters() if not p.requires_grad}
        return copy.deepcopy(original, frozen)

    def _alone(self, row: NDArray[np.bool_], replicate: int) -> Made:
        started = time.perf_counter()
        denoiser, failure = None, ""
        try:
            denoiser = self.one(row, replicate)
        except (OSError, ArtifactError, ConfigError):
            raise
        except Exception:
            failure = traceback.format_exc()
        return Made(denoiser, failure, time.perf_counter() - started)

    def _together(self, rows: Sequence[NDArray[np.bool_]], replicate: int) -> list[Made] | None:
        """Return what one stacked training made, or None if it has to be one by one.

        A stack in which anything fails is given up: alone, only the culprit will fail.
        """
        started = time.perf_counter()
        try:
            asked = [self.ask(row, replicate) for row in rows]
            trainings = [one for one in asked if isinstance(one, Training)]
            if len(trainings) < 2 or not can_stack(self._trainer, trainings):
                return None
            stream = self._start(replicate).stream
            averages = iter(train_stacked(self._trainer, trainings, stream))
            denoisers = [
                _finished(one, next(averages)) if isinstance(one, Training) else one
                for one in asked
            ]
        except (OSError, ArtifactError, ConfigError):
            raise
        except Exception:
            return None
        seconds = (time.perf_counter() - started) / len(rows)
        return [Made(denoiser, "", seconds) for denoiser in denoisers]

    def _start(self, replicate: int) -> "CoalitionStart":
        return CoalitionStart(self, self._study, self._trainer, replicate)


class CoalitionStart:
    """What a fine-tuning starts from, for one replicate; see interfaces.StartingPoint.

    The streams of batches, noise and initial weights do not depend on the coalition: they are
    common random numbers, so that differences of utilities are not differences of luck.
    """

    def __init__(
        self, models: CoalitionModels, study: Study, trainer: Trainer, replicate: int
    ) -> None:
        self._models = models
        self._study = study
        self._trainer = trainer
        self._replicate = replicate

    def trained(self) -> nn.Module:
        """Return the stored denoiser with its raw weights."""
        return self._models.stored(RAW)

    def averaged(self) -> nn.Module:
        """Return the stored denoiser with its averaged weights."""
        return self._models.stored(AVERAGED)

    def untrained(self) -> nn.Module:
        """Return a denoiser of the stored shape with untrained weights."""
        seed = derive_seed("initialise", self._study.seed, self._replicate)
        return self._study.model.reinitialise(self.trained(), seed)

    def gradients(
        self, denoiser: nn.Module, examples: torch.Tensor, batch_size: int, *, draw: int
    ) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
        """Yield the size of each batch and the gradient of its mean loss by parameter name."""
        stream = self.stream.at("gradients", draw)
        return self._trainer.gradients(denoiser, examples, batch_size, stream)

    @property
    def stream(self) -> Stream:
        """The randomness of a coalition's training."""
        return Stream("coalition", self._study.seed, self._replicate)


def train(
    trainer: Trainer,
    training: Training,
    stream: Stream,
    on_step: Callable[[int], None] = lambda step: None,
) -> dict[str, torch.Tensor]:
    """Do a training and return the averaged parameters by name; see Trainer.train."""
    return trainer.train(
        training.denoiser,
        training.recipe,
        training.examples,
        stream,
        on_step=on_step,
        ascend=training.ascend,
        rate_factors=training.rate_factors,
    )


def _finished(training: Training, averages: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the denoiser of a training with its averaged weights."""
    training.denoiser.load_state_dict(averages, strict=False)
    if training.finish is not None:
        training.finish(training.denoiser)
    return training.denoiser
