"""An evaluator for jobs on a cluster: it notes in files what it does, as they outlive a driver."""

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from evaluators_for_tests import DiesOn, is_killed_while_built, outcome_of

from crediting.interfaces import Outcome, Task


@dataclass(frozen=True)
class Identified:
    """Makes evaluators of squares that note what they do in a folder; an EvaluatorFactory.

    Those of coalitions in `deaths` kill their process so often; that of `on` waits for a file.
    """

    identity: ClassVar[str] = "squares"

    notes: Path
    deaths: Mapping[str, int] = field(default_factory=dict)
    waits_for: Path | None = None
    on: str = ""
    dies: bool = False
    threads: bool = False

    def __call__(self) -> "Noting":
        if self.dies:
            is_killed_while_built(self.notes)
        return Noting(self)


class Noting(DiesOn):
    def __init__(self, made_by: Identified) -> None:
        super().__init__(made_by.notes, dict(made_by.deaths))
        self.made_by = made_by

    def outcome(self, task: Task) -> Outcome:
        if self.made_by.waits_for and task.coalition == self.made_by.on:
            (self.folder / f"waiting-{os.getpid()}").touch()
            while not self.made_by.waits_for.exists():
                time.sleep(0.02)
        outcome = super().outcome(task)
        (self.folder / f"evaluated-{task.coalition}-{uuid4().hex}").touch()
        if self.made_by.threads:
            return outcome_of(task, float(os.environ["OMP_NUM_THREADS"]))
        return outcome


def evaluations(notes: Path) -> Counter[str]:
    """Return how often each coalition was evaluated to the end."""
    return Counter(path.name.split("-")[1] for path in notes.glob("evaluated-*"))
