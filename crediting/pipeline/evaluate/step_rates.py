"""How many training steps per second a study does here, stacked or in several processes."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import connection, get_context
from typing import Any

from crediting.errors import is_out_of_memory
from crediting.game.coalition import grand_coalition
from crediting.multiprocess import start
from crediting.pipeline.address import GameSpec
from crediting.pipeline.artifact import completed
from crediting.pipeline.evaluate.coalition_models import CoalitionModels
from crediting.pipeline.machine import release_memory, wait_for_the_gpu
from crediting.pipeline.study import Study
from crediting.pipeline.train import open_trainer
from crediting.randomness import Stream
from crediting.training.cuda_graphs import WARM_UP
from crediting.training.recipe import Training
from crediting.training.stacking import can_stack, train_stacked

RUN_IN, LEAST, MOST = WARM_UP + 2, 6, 300
"""Steps before the clock starts, when all is compiled and recorded, and steps that are timed."""
_LONG_ENOUGH = 0.5
"""Seconds, in which a rate is told well."""


def steps_per_second(study: Study, spec: GameSpec, size: int) -> float:
    """Return the steps that trainings of `size` coalitions at once do, summed over them.

    0 where they cannot be stacked.
    """
    run = _prepared(study, spec, size)
    if run is None:
        return 0.0
    steps = _enough(run(LEAST))  # a second training may compile once more
    seconds = min(run(steps) for _ in range(2))
    del run
    release_memory()
    return size * steps / seconds


def _enough(seconds: float) -> int:
    """Return how many steps to time if the fewest took so many seconds."""
    return min(max(LEAST, math.ceil(LEAST * _LONG_ENOUGH / seconds)), MOST)


def _prepared(study: Study, spec: GameSpec, size: int) -> Callable[..., float] | None:
    """Return what trains and tells the seconds of some steps, or None if nothing is trained.

    It takes their number, and what is to be called before the clock starts, as `Clock`.
    """
    trainer = open_trainer(study)
    models = CoalitionModels(study, spec, completed(study, spec.start, "prune"), trainer)
    # everybody but the largest contributor: what unlearns trains only where somebody is missing
    row = grand_coalition(len(study.partition))
    row[..., int(study.partition.sizes.argmax())] = False
    asked = [models.ask(row, 0) for _ in range(size)]
    trainings = [one for one in asked if isinstance(one, Training)]
    if len(trainings) < size or (size > 1 and not can_stack(trainer, trainings)):
        return None

    def run(steps: int, begin: Callable[[], Any] = lambda: None) -> float:
        brief = [
            replace(one, recipe=replace(one.recipe, steps=RUN_IN + steps)) for one in trainings
        ]
        clock = Clock(begin)
        if size > 1:
            train_stacked(trainer, brief, Stream("tuning"), clock)
        else:
            trainer.train(brief[0], Stream("tuning"), on_step=clock)
        return clock.seconds()

    return run


class Clock:
    """Times the steps of a training but for the first ones; it is told of every step.

    Args:
        begin: called after the first RUN_IN steps; the clock starts when it returns.
    """

    def __init__(self, begin: Callable[[], Any] = lambda: None) -> None:
        self._begin = begin
        self._started = 0.0

    def __call__(self, step: int) -> None:
        """Take notice of the number of finished steps."""
        if step == RUN_IN:
            wait_for_the_gpu()
            self._begin()
            self._started = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds since it started."""
        wait_for_the_gpu()
        return time.perf_counter() - self._started


def in_processes(study: Study, spec: GameSpec, processes: int) -> float:
    """Return the steps per second of single trainings in several processes on one GPU."""
    context = get_context("spawn")
    barrier, rates = context.Barrier(processes), context.Queue()
    members = [
        context.Process(target=_member, args=(study, spec, barrier, rates), daemon=True)
        for _ in range(processes)
    ]
    start(members)
    if all_end_well(members):
        return sum(rates.get() for _ in members)
    return 0.0


def all_end_well(processes: Sequence[Any]) -> bool:
    """Return whether started processes all end with exit code 0; if one does not, stop the rest."""
    running = {process.sentinel: process for process in processes}
    while running:
        for sentinel in connection.wait(list(running)):
            ended = running.pop(sentinel)
            ended.join()
            if ended.exitcode:
                for process in running.values():
                    process.terminate()
                    process.join()
                return False
    return True


def _member(study: Study, spec: GameSpec, barrier: Any, rates: Any) -> None:
    run = _prepared(study, spec, 1)
    assert run is not None, "single trainings were measured before"
    try:
        steps = _enough(run(LEAST))
        # all begin to count at once: what comes before, such as recording, takes unlike times
        rates.put(steps / run(steps, barrier.wait))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(1)  # so many do not fit, which is an answer
