"""Coalitions one after another, in this process."""

from collections.abc import Callable, Generator, Sequence

from crediting.interfaces import Evaluator, Outcome, Task


class Serial:
    """Evaluates in this process, in order; the executor to debug with."""

    def run(
        self, make_evaluator: Callable[[], Evaluator], tasks: Sequence[Task]
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each task in order; without tasks no evaluator is built."""
        if tasks:
            yield from map(make_evaluator(), tasks)

    def sized(self, capacity: int) -> "Serial":
        """Return this executor: it holds one evaluator anywhere."""
        return self

    def width(self) -> int:
        """Return how many coalitions are evaluated at once: 1."""
        return 1
