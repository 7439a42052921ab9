"""The longest evaluations first, and how long the rest will take, told by those that are recorded.

Where the last evaluations to begin are the shortest, no worker is left alone with a long one.
Utilities do not depend on the order. How long an evaluation takes is a straight line over the
number of its training examples, by least squares; it may fall, as where a model unlearns those of
all others.

Source: Graham, "Bounds on Multiprocessing Timing Anomalies", 1969 (longest processing time first).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from crediting.game.coalition import coalition_from_key
from crediting.interfaces import Job, Outcome, Task

Floats = NDArray[np.float64]

FEWEST = 10
"""Evaluations below which a line through them is a matter of luck: they have one duration."""
SURE = 2.0
"""Standard errors that a slope must be away from zero; nearer, all have one duration."""


class Pace:
    """Seconds of an evaluation by its number of examples, as learnt from one after another.

    The empty coalition's model needs no training and is not learnt from.
    """

    def __init__(self) -> None:
        self.count = 0
        self._examples = self._seconds = 0.0  # means
        self._squares = self._product = self._spread = 0.0  # sums about them

    def learn(self, examples: float, seconds: float) -> None:
        """Take one evaluation into account."""
        if not examples:
            return
        self.count += 1
        before = examples - self._examples, seconds - self._seconds
        self._examples += before[0] / self.count
        self._seconds += before[1] / self.count
        self._squares += before[0] * (examples - self._examples)
        self._product += before[0] * (seconds - self._seconds)
        self._spread += before[1] * (seconds - self._seconds)

    def expected(self, examples: Floats) -> Floats:
        """Return the expected seconds of evaluations, (t,); NaN if none was learnt from."""
        if not self.count:
            return np.full(len(examples), np.nan)
        return np.maximum(self._seconds + self._slope() * (examples - self._examples), 0)

    def _slope(self) -> float:
        """Return seconds per example, 0 where it cannot be told from 0."""
        if self.count < FEWEST or not self._squares:
            return 0.0
        slope = self._product / self._squares
        unexplained = max(self._spread - slope * self._product, 0.0)
        error = math.sqrt(unexplained / (self.count - 2) / self._squares)
        return slope if abs(slope) > SURE * error else 0.0


class Schedule:
    """Distinct tasks of one game: in which jobs to begin them, and how long those left will take.

    Seconds of evaluations that are recorded tell how they vary. If the first of these tasks took
    twice as long, on another machine, so will all of them.

    Args:
        tasks: in the order of the design.
        sizes: training examples of every contributor, (n,).
        kept: by task, whether its images are there already and need only be measured, which says
            nothing of how long others take.
        durations: coalition and seconds of recorded evaluations.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        sizes: NDArray[np.int64],
        kept: Sequence[bool],
        durations: Iterable[tuple[str, float]],
    ) -> None:
        self._tasks = tasks
        self._place = {(task.coalition, task.replicate): at for at, task in enumerate(tasks)}
        self._examples = _examples([task.coalition for task in tasks], sizes)
        self._kept = np.array(kept, dtype=bool)
        self._seconds = np.full(len(tasks), np.nan)
        self._left = np.ones(len(tasks), dtype=bool)
        self._recorded, self._made, self._measured = Pace(), Pace(), Pace()
        known = list(durations)
        examples = _examples([coalition for coalition, _ in known], sizes).tolist()
        for count, (_, seconds) in zip(examples, known, strict=True):
            self._recorded.learn(count, seconds)

    def jobs(self, size: int) -> list[Job]:
        """Return the tasks in jobs of at most `size`, the longest first; ties as in the design.

        Where few are recorded, those of more examples count as longer. A job is of one replicate:
        others do not train together. What needs only be measured comes last.
        """
        known = self._recorded.count >= FEWEST
        length = self._recorded.expected(self._examples) if known else self._examples
        length = np.where(self._kept, -1.0, length)
        order = np.argsort(-length, kind="stable")
        lanes: dict[int, list[int]] = {}
        for at in order:
            lanes.setdefault(self._tasks[at].replicate, []).append(int(at))
        cut = [lane[at : at + size] for lane in lanes.values() for at in range(0, len(lane), size)]
        cut.sort(key=lambda places: (-length[places[0]], places[0]))
        return [tuple(self._tasks[at] for at in places) for places in cut]

    def note(self, outcome: Outcome) -> None:
        """Take into account that a task is done; failures tell nothing of how long others take."""
        at = self._place[outcome.task.coalition, outcome.task.replicate]
        self._left[at] = False
        if outcome.values:
            self._seconds[at] = outcome.seconds
            pace = self._measured if self._kept[at] else self._made
            pace.learn(float(self._examples[at]), outcome.seconds)

    def seconds_left(self, width: int) -> float:
        """Return the expected seconds until all tasks are done, so many at a time.

        NaN if nothing tells how long one takes. Measuring kept images, which is short, is left out
        until one of them was measured, unless nothing else is left.
        """
        expected = np.zeros(len(self._tasks))
        for which, paces in (
            (~self._kept, (self._recorded, self._made)),
            (self._kept, (self._measured,)),
        ):
            pace = max(paces, key=lambda one: one.count)
            if which is self._kept and not pace.count and (self._left & ~self._kept).any():
                continue
            expected[which] = self._scaled(which, pace.expected(self._examples[which]))
        left = expected[self._left]
        return float(max(left.sum() / width, left.max())) if len(left) else 0.0

    def _scaled(self, which: NDArray[np.bool_], expected: Floats) -> Floats:
        """Return expected seconds times what those of these tasks that are done took against it."""
        took = self._seconds[which]
        done = ~np.isnan(took)
        foreseen = expected[done].sum()
        return expected * (took[done].sum() / foreseen) if foreseen > 0 else expected


def _examples(coalitions: Sequence[str], sizes: NDArray[np.int64]) -> Floats:
    """Return the number of training examples of coalitions, given by their keys, (t,)."""
    return np.array([coalition_from_key(key) @ sizes for key in coalitions], dtype=np.float64)
