"""What baselines cost that share much of their work: each is charged for all that it needed."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Costs = dict[str, float]
"""Seconds by what was made, each without those of what else was made meanwhile."""


def costs_of(manifest: Mapping[str, Any]) -> Costs:
    """Return what a stored result says it took; before it told the parts, it told its own."""
    return dict(manifest["facts"].get("seconds", {"": manifest["seconds"]}))


class SharedCosts:
    """Knows what everything was made of, and is told of everything that is used."""

    def __init__(self) -> None:
        self._known: dict[str, Costs] = {}
        self._needed: Costs = {}
        self._spent = 0.0  # seconds of all that was made in this process

    @contextmanager
    def making(self, what: str) -> Iterator[Costs]:
        """Time what is made inside; the dict has, at the end, all it took, itself included."""
        outer, before = self._needed, self._spent
        self._needed = needed = Costs()
        started = time.perf_counter()
        try:
            yield needed
        finally:
            self._needed = outer
        elapsed = time.perf_counter() - started
        needed[what] = elapsed - (self._spent - before)
        self._spent = before + elapsed
        self.use(what, needed)

    def knows(self, what: str) -> bool:
        """Return whether something was made or used before."""
        return what in self._known

    def use(self, what: str, costs: Mapping[str, float] | None = None) -> None:
        """Charge whatever is being made for something, which once took these costs, if told."""
        known = self._known.setdefault(what, dict(costs or {}))
        for name, seconds in known.items():
            # what lies in the store is read faster than it was made
            self._needed[name] = max(seconds, self._needed.get(name, 0.0))
