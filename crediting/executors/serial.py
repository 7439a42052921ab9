"""Coalitions one after another, in this process."""

from collections.abc import Callable, Generator, Sequence
from itertools import chain

from crediting.interfaces import Evaluator, Job, Outcome


class Serial:
    """Evaluates in this process, in order; the executor to debug with."""

    def run(
        self, make_evaluator: Callable[[], Evaluator], jobs: Sequence[Job]
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each task in order; without jobs no evaluator is built."""
        if jobs:
            yield from chain.from_iterable(map(make_evaluator(), jobs))

    def sized(self, capacity: int, devices: Sequence[str] = ()) -> "Serial":
        """Return this executor: it holds one evaluator anywhere."""
        return self

    def width(self) -> int:
        """Return how many coalitions are evaluated at once: 1."""
        return 1
