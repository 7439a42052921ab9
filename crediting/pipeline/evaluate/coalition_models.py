"""Coalitions' denoisers: trainings of one kind are done together, all others one by one."""

import copy
import time
import traceback
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crediting.errors import ANY_FAILURE, NO_FAULT_OF_A_COALITION, is_out_of_memory
from crediting.pipeline.address import GameSpec
from crediting.pipeline.machine import placed
from crediting.pipeline.study import Study
from crediting.pipeline.train import AVERAGED, RAW
from crediting.progress import say
from crediting.randomness import Stream, derive_seed
from crediting.training.recipe import BatchGradient, Training
from crediting.training.stacking import can_stack, kind_of, train_stacked
from crediting.training.stepping import draws_at_random
from crediting.training.trainer import Trainer


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
        self._untrained: tuple[int, nn.Module] | None = None

    def make(self, rows: Sequence[NDArray[np.bool_]], replicate: int) -> Iterator[Made]:
        """Yield what became of each coalition (n,), in order.

        Raises:
            OSError, ArtifactError: a file cannot be read,
            ConfigError: or a setting cannot work, which is no fault of a coalition.
        """
        made = self._together(rows, replicate) if len(rows) > 1 else {}
        for place, row in enumerate(rows):  # none is kept once it was given away
            yield made.pop(place) if place in made else self._alone(row, replicate)

    def one(self, row: NDArray[np.bool_], replicate: int) -> nn.Module:
        """Return the denoiser of a coalition (n,)."""
        asked = self.ask(row, replicate)
        if not isinstance(asked, Training):
            return asked
        stream = self._start(replicate).stream
        if self._drops_as_in_stacks(asked):
            return _finished(asked, train_stacked(self._trainer, [asked], stream)[0])
        return _finished(asked, self._trainer.train(asked, stream))

    def ask(self, row: NDArray[np.bool_], replicate: int) -> nn.Module | Training:
        """Return what the fine-tuning makes of a coalition (n,), or how it wants it trained."""
        kept, removed = (
            torch.from_numpy(self._study.partition.examples(side)).to(self._trainer.device)
            for side in (row, ~row)
        )
        return self._finetuning.coalition_model(self._start(replicate), kept, removed)

    def stored(self, weights: str) -> nn.Module:
        """Return a fresh copy of the starting denoiser on the device; files are read once.

        Frozen parameters, such as those under a LoRA, are shared.
        """
        if weights not in self._loaded:
            self._untrained = None  # its memory is wanted
            self._loaded[weights] = self._placed(self._study.model.load(self._folder, weights))
        return _copied(self._loaded[weights])

    def untrained(self, replicate: int) -> nn.Module:
        """Return a fresh copy of the denoiser that a replicate's trainings from scratch start from.

        It has the shape of the stored one. That of the last replicate is kept where all begin with
        it; beside a stored one, which others are fine-tuned from, it would take memory twice.
        """
        model, seed = self._study.model, derive_seed("initialise", self._study.seed, replicate)
        if self._loaded:
            return model.reinitialise(self.stored(RAW), seed)
        if self._untrained is None or self._untrained[0] != replicate:
            self._untrained = None
            shape = model.load(self._folder, RAW)
            self._untrained = replicate, self._placed(model.reinitialise(shape, seed))
        return _copied(self._untrained[1])

    def _placed(self, denoiser: nn.Module) -> nn.Module:
        return placed(denoiser, self._trainer.device, self._study.runtime)

    def _alone(self, row: NDArray[np.bool_], replicate: int) -> Made:
        started = time.perf_counter()
        denoiser, failure = None, ""
        try:
            denoiser = self.one(row, replicate)
        except NO_FAULT_OF_A_COALITION:
            raise
        except ANY_FAILURE:
            failure = traceback.format_exc()
        return Made(denoiser, failure, time.perf_counter() - started)

    def _together(self, rows: Sequence[NDArray[np.bool_]], replicate: int) -> dict[int, Made]:
        """Return what stacked trainings made, by place; all others have to be done one by one."""
        if self._finetuning.recipe is None:  # nothing is trained
            return {}
        kinds: dict[Hashable, dict[int, Training]] = {}
        for place, row in enumerate(rows):
            asked = self._asked(row, replicate)
            if asked is not None:
                kinds.setdefault(kind_of(asked), {})[place] = asked
        made: dict[int, Made] = {}
        while kinds:
            _, alike = kinds.popitem()
            if len(alike) > 1 and can_stack(self._trainer, list(alike.values())):
                made |= self._stacked(alike, replicate)
        return made

    def _asked(self, row: NDArray[np.bool_], replicate: int) -> Training | None:
        """Return the training that is asked for, if any; what fails will fail again alone."""
        try:
            asked = self.ask(row, replicate)
        except ANY_FAILURE:
            return None
        return asked if isinstance(asked, Training) else None

    def _stacked(self, alike: Mapping[int, Training], replicate: int) -> dict[int, Made]:
        """Return what one stack of trainings made, by place.

        A stack in which anything fails is given up: alone, only the culprit will fail.
        """
        started = time.perf_counter()
        try:
            stream = self._start(replicate).stream
            averages = train_stacked(self._trainer, list(alike.values()), stream)
            denoisers = [
                _finished(one, average)
                for one, average in zip(alike.values(), averages, strict=True)
            ]
        except NO_FAULT_OF_A_COALITION:
            raise
        except ANY_FAILURE as error:
            if is_out_of_memory(error):
                say(
                    f"evaluate: not enough memory to train {len(alike)} coalitions at once, so "
                    "they are trained one by one; lower runtime.stack"
                )
                return {}
            reason = (str(error) or type(error).__name__).splitlines()[0]
            say(f"evaluate: {len(alike)} coalitions are trained one by one, not at once: {reason}")
            return {}
        seconds = (time.perf_counter() - started) / len(alike)
        made = [Made(denoiser, "", seconds) for denoiser in denoisers]
        return dict(zip(alike, made, strict=True))

    def _drops_as_in_stacks(self, training: Training) -> bool:
        """Return whether dropout is that of stacks, where there are any, whoever is in them."""
        stacks = self._study.runtime["stack"] != 1 and can_stack(self._trainer, [training])
        return stacks and draws_at_random(training.denoiser)

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
        return self._models.untrained(self._replicate)

    def gradients(
        self, denoiser: nn.Module, examples: torch.Tensor, batch_size: int, *, draw: int
    ) -> Iterator[BatchGradient]:
        """Yield the loss of each batch and its gradient."""
        stream = self.stream.at("gradients", draw)
        return self._trainer.gradients(denoiser, examples, batch_size, stream)

    @property
    def stream(self) -> Stream:
        """The randomness of a coalition's training."""
        return Stream("coalition", self._study.seed, self._replicate)


def _copied(original: nn.Module) -> nn.Module:
    """Return a copy of a denoiser that shares what nobody changes: frozen parameters."""
    frozen = {id(p): p for p in original.parameters() if not p.requires_grad}
    return copy.deepcopy(original, frozen)


def _finished(training: Training, averages: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the denoiser of a training with its averaged weights."""
    training.denoiser.load_state_dict(averages, strict=False)
    if training.finish is not None:
        training.finish(training.denoiser)
    return training.denoiser
