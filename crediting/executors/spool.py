"""A folder through which evaluators on other machines and the driver speak: files of JSON.

Every file is written whole or not at all, and by one side only, so no lock is needed between them.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from crediting import errors
from crediting.errors import CreditingError
from crediting.executors.worker import Raised, raise_again
from crediting.files import atomic_write_text
from crediting.interfaces import Outcome, Task

_LOCK = ".lock"
_OUTCOMES, _SUBMITTED, _READY, _RAISED = "outcomes", "submitted", "ready", "raised"


class Spool:
    """The folder of one driver: outcomes, errors, and which submissions there are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # ------------------------------------------------------------------------------ outcomes

    def put(self, outcome: Outcome) -> None:
        """Write an outcome."""
        self._write(_OUTCOMES, name_of(outcome.task), asdict(outcome))

    def has(self, task: Task) -> bool:
        """Return whether the outcome of a task is there."""
        return self._path(_OUTCOMES, name_of(task)).exists()

    def names(self) -> set[str]:
        """Return the `name_of` the tasks whose outcomes are there."""
        return {path.stem for path in self.folder.glob(f"{_OUTCOMES}/*.json")}

    def outcome(self, task: Task) -> Outcome:
        """Return an outcome that is there."""
        return Outcome(**{**self._read(_OUTCOMES, name_of(task)), "task": task})

    # ------------------------------------------------------------------------------ errors

    def put_raised(self, raised: Raised) -> None:
        """Write what an evaluator raised."""
        mendable = raised.mendable
        content = {
            "doing": raised.doing,
            "traceback": raised.traceback,
            "kind": type(mendable).__name__ if mendable else None,
            "message": str(mendable) if mendable else "",
        }
        self._write(_RAISED, uuid4().hex, content)

    def raise_what_was_raised(self) -> None:
        """Raise what an evaluator did: its own error if it can be mended, or a RuntimeError."""
        for path in self.folder.glob(f"{_RAISED}/*.json"):
            told = self._read(_RAISED, path.stem)
            kind = told["kind"] and getattr(errors, told["kind"], CreditingError)
            mendable = kind(told["message"]) if kind else None
            raise_again(Raised(told["doing"], told["traceback"], mendable))

    # ------------------------------------------------------------------------------ submissions

    def note_submission(self, token: str, cluster_id: str | None, tasks: Sequence[Task]) -> None:
        """Write down that a job of the cluster has these tasks; None before it has an id there."""
        content = {"cluster_id": cluster_id, "tasks": list(map(name_of, tasks))}
        self._write(_SUBMITTED, token, content)

    def submissions(self) -> Iterator[tuple[str, str | None, set[str]]]:
        """Yield the token, the id on the cluster and the names of the tasks of each submission."""
        for path in list(self.folder.glob(f"{_SUBMITTED}/*.json")):
            told = self._read(_SUBMITTED, path.stem)
            yield path.stem, told["cluster_id"], set(told["tasks"])

    def forget_submission(self, token: str) -> None:
        """Undo `note_submission`."""
        self._path(_SUBMITTED, token).unlink(missing_ok=True)

    def forget_submissions(self) -> None:
        """Undo every `note_submission`."""
        shutil.rmtree(self.folder / _SUBMITTED, ignore_errors=True)

    def is_noted(self, token: str) -> bool:
        """Return whether a submission is noted, and not forgotten since."""
        return self._path(_SUBMITTED, token).exists()

    def note_ready(self, token: str) -> None:
        """Write down that a submission has come as far as to evaluate."""
        self._write(_READY, token, {})

    def was_ready(self, token: str) -> bool:
        """Return whether a submission has come as far as to evaluate."""
        return self._path(_READY, token).exists()

    # ------------------------------------------------------------------------------ files

    def discard_errors(self) -> None:
        """Forget errors, and outcomes that are failures, of a driver before: they are tried again.

        So is an outcome that cannot be read.
        """
        shutil.rmtree(self.folder / _RAISED, ignore_errors=True)
        for path in list(self.folder.glob(f"{_OUTCOMES}/*.json")):
            try:
                failed = bool(json.loads(path.read_text())["failures"])
            except (ValueError, KeyError, TypeError):
                failed = True
            if failed:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything but the lock."""
        for name in (_OUTCOMES, _SUBMITTED, _READY, _RAISED):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.json"

    def _read(self, kind: str, name: str) -> dict[str, Any]:
        content = json.loads(self._path(kind, name).read_text())
        assert isinstance(content, dict)
        return content

    def _write(self, kind: str, name: str, content: Mapping[str, Any]) -> None:
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(content))


def name_of(task: Task) -> str:
    """Return what names the file of a task's outcome."""
    key = json.dumps([task.coalition, task.replicate, task.properties])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


@contextmanager
def claimed(root: Path, identity: str | None) -> Iterator[Spool]:
    """Hold a spool for what is evaluated; another if another driver, still alive, has the first.

    A driver that follows a killed one is thus given what that one left; without identity, nothing.
    """
    with ExitStack() as stack:
        for number in count():
            name = identity or uuid4().hex
            folder = root / (f"{name}-{number}" if number else name)
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK).open("ab"))
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        try:
            yield Spool(folder)
        finally:
            if identity is None:
                shutil.rmtree(folder, ignore_errors=True)
