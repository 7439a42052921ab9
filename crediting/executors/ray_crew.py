"""Actors that work off jobs on a Ray cluster, where any of them may be lost at any moment."""

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from crediting.errors import EvaluationError
from crediting.executors.worker import given_up, outcomes
from crediting.interfaces import Job, Outcome, Task

_LOOK_EVERY = 30.0
_PATIENCE = 600.0
"""Seconds for which the cluster may be without a node that could hold any worker."""


class Backlog:
    """The jobs still to be begun; tasks that a worker was lost with go first, each for itself."""

    def __init__(self, jobs: Sequence[Job], retries: int) -> None:
        self._jobs = deque(jobs)
        self._losses: Counter[Task] = Counter()
        self._retries = retries

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def next(self) -> Job:
        """Take the job to begin now."""
        return self._jobs.popleft()

    def take_back(self, job: Job) -> list[Task]:
        """Queue the tasks of a lost job again; return those that have no retries left."""
        self._losses.update(job)
        again = [task for task in job if self._losses[task] <= self._retries]
        self._jobs.extendleft((task,) for task in reversed(again))
        return [task for task in job if task not in again]


@dataclass(eq=False)
class _Worker:
    """An actor; `job` is empty while it builds its evaluator, and while it has nothing to do."""

    actor: Any
    false_starts: int
    """How many in its place were lost, one after another, before they could evaluate anything."""
    job: Job = ()


class Crew:
    """`size` actors, each replaced if it is lost; they wait until the cluster has room for them.

    Args:
        ray: the module, connected.
        hire: starts an actor of class `RayActor`.
        room: tells how many of them the living nodes of the cluster can hold at all.
    """

    def __init__(
        self, ray: Any, hire: Callable[[], Any], room: Callable[[], int], size: int, retries: int
    ) -> None:
        self._ray = ray
        self._hire = hire
        self._room = room
        self._size = size
        self._retries = retries
        self._awaited: dict[Any, _Worker] = {}
        self._idle: list[_Worker] = []

    def evaluate(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """Yield the outcome of each task; however it ends, all actors are stopped.

        Raises:
            CreditingError, RuntimeError: as raised in an actor.
            EvaluationError: actors keep being lost before they can evaluate anything, or no node
                is left that could hold one.
        """
        backlog = Backlog(jobs, self._retries)
        try:
            for _ in range(self._size):
                self._start(false_starts=0)
            while backlog or any(worker.job for worker in self._awaited.values()):
                made = self._next_answer(backlog)
                while backlog and self._idle:  # before the driver is busy with what was made
                    self._give(self._idle.pop(), backlog.next())
                yield from made
        finally:
            for worker in (*self._awaited.values(), *self._idle):
                self._ray.kill(worker.actor)

    def _start(self, false_starts: int) -> None:
        worker = _Worker(self._hire(), false_starts)
        self._awaited[worker.actor.begin.remote()] = worker

    def _give(self, worker: _Worker, job: Job) -> None:
        worker.job = job
        self._awaited[worker.actor.evaluate.remote(job)] = worker

    def _next_answer(self, backlog: Backlog) -> Sequence[Outcome]:
        """Wait for one actor; return what it made of its job, or what stands for it."""
        reference = self._first_to_answer()
        worker = self._awaited[reference]
        try:
            returned = self._ray.get(reference)
        except self._losses() as error:
            del self._awaited[reference]
            return self._replace(worker, backlog, error)
        made = outcomes(returned)
        del self._awaited[reference]
        worker.job, worker.false_starts = (), 0
        self._idle.append(worker)
        return made

    def _first_to_answer(self) -> Any:
        hopeful = time.monotonic()
        while True:
            done, _ = self._ray.wait(list(self._awaited), num_returns=1, timeout=_LOOK_EVERY)
            if done:
                return done[0]
            if any(worker.job for worker in self._awaited.values()) or self._room():
                hopeful = time.monotonic()
            elif time.monotonic() - hopeful > _PATIENCE:
                raise EvaluationError(
                    f"for {_PATIENCE / 60:.0f} minutes the Ray cluster has had no node that could "
                    "hold a worker. Run the same command again when its nodes are back: what was "
                    "recorded is kept"
                )

    def _replace(self, worker: _Worker, backlog: Backlog, error: Exception) -> list[Outcome]:
        """Start another actor in the place of a lost one; return outcomes of tasks given up."""
        self._ray.kill(worker.actor)  # it may be out of reach only
        false_starts = 0 if worker.job else worker.false_starts + 1
        if false_starts <= self._retries:
            self._start(false_starts)
        elif not (self._awaited or self._idle):
            raise EvaluationError(
                f"workers died {false_starts} times before they could evaluate anything, usually "
                f"because memory ran out ({_first_line(error)}). Lower executor.workers or "
                "raise executor.cpus_per_worker, or see why with executor=serial. What was "
                "recorded before is kept"
            )
        why = "memory ran out: lower executor.workers, or raise executor.cpus_per_worker"
        return [given_up(task, self._retries + 1, why) for task in backlog.take_back(worker.job)]

    def _losses(self) -> tuple[type[Exception], ...]:
        """Return the errors by which ray tells that an actor or its node is gone."""
        errors = self._ray.exceptions
        return (
            errors.RayActorError,
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
