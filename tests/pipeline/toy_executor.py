"""An executor that evaluates a game of numbers: what is around evaluating, without any training."""

from itertools import chain

import numpy as np

from crediting.game.coalition import coalition_from_key
from crediting.interfaces import Outcome


class ToyExecutor:
    """Evaluates noisy sums of weights, the same for every property; each takes `seconds`.

    Coalitions in `failing` fail, and it is interrupted before the evaluation number `lasts`.
    """

    def __init__(self, noise=0.1, seconds=3600.0, width=1, failing=(), lasts=10**9):
        self.noise, self.seconds, self.workers = noise, seconds, width
        self.failing, self.lasts = set(failing), lasts
        self.evaluated: list[str] = []
        self.batches = 0

    def run(self, make_evaluator, jobs):
        self.batches += 1
        for task in chain.from_iterable(jobs):
            if len(self.evaluated) >= self.lasts:
                raise KeyboardInterrupt
            self.evaluated.append(task.coalition)
            row = coalition_from_key(task.coalition)
            error = np.random.default_rng([task.replicate, *row.astype(int)]).normal()
            value = float(row @ np.arange(1.0, len(row) + 1) + self.noise * error)
            failed = task.coalition in self.failing
            values = {} if failed else dict.fromkeys(task.properties, value)
            failures = {"": "boom"} if failed else {}
            yield Outcome(task, values, failures, seed=0, seconds=self.seconds, device="toy")

    def sized(self, capacity, devices=()):
        return self

    def width(self):
        return self.workers
