"""Coalitions in jobs on a cluster: SLURM, by way of submitit."""

import copy
import math
import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

from crediting.errors import EvaluationError
from crediting.executors.cluster import CLUSTERS, Cluster
from crediting.executors.settings import require, require_count
from crediting.executors.slurm_job import Submission
from crediting.executors.spool import Spool, claimed, name_of
from crediting.executors.worker import given_up
from crediting.interfaces import Evaluator, Job, Outcome, Task

_TURNS = 4  # array tasks per worker for jobs_per_submission=auto: the last to end is not much later


class Slurm:
    """Evaluates in the tasks of job arrays, `workers` of them at once.

    Every array task builds one evaluator, does `jobs_per_submission` jobs in order ("auto": so many
    that every worker has about four array tasks) and writes outcomes into a folder that the driver
    looks into every `poll_seconds`. What is pre-empted or runs out of `timeout_min` is queued again
    and loses the job in work alone. Where an array task dies or vanishes, what it left is submitted
    again; a task that was in work then is tried at most `retries` times more, by itself, before an
    outcome with a failure, seed -1 and 0 seconds stands for it.

    If the driver is killed, array tasks go on. The next driver that evaluates the same, by the
    `identity` of what makes the evaluator (see `interfaces.EvaluatorFactory`), takes what they
    wrote, waits for what is still under way and submits only the rest.

    Args:
        cluster: slurm; local for processes of this machine, debug for this very process.
        folder: where jobs log and outcomes arrive; all machines must see it.
        workers: array tasks that run at once.
        jobs_per_submission: a positive integer or "auto".
        timeout_min: minutes after which an array task is stopped and queued again.
        parameters: what `submitit.AutoExecutor.update_parameters` takes; null leaves one out.
        retries: of a task whose array task died.
        poll_seconds: between looks at the folder and at the states of the jobs.

    Raises:
        ConfigError: a value is out of range; the message names it.
    """

    def __init__(
        self,
        cluster: str,
        folder: str,
        workers: int,
        jobs_per_submission: int | str,
        timeout_min: int,
        parameters: Mapping[str, Any],
        retries: int,
        poll_seconds: float,
    ) -> None:
        require("cluster", cluster, f"one of {', '.join(CLUSTERS)}", cluster in CLUSTERS)
        require_count("workers", workers, 1)
        require_count("timeout_min", timeout_min, 1)
        require_count("retries", retries, 0)
        require_count("jobs_per_submission", jobs_per_submission, 1, or_auto=True)
        lasts = isinstance(poll_seconds, int | float) and poll_seconds > 0
        require("poll_seconds", poll_seconds, "positive", lasts)
        self.cluster = cluster
        self.folder = folder
        self.workers = workers
        self.jobs_per_submission = jobs_per_submission
        self.timeout_min = timeout_min
        self.parameters = parameters
        self.retries = retries
        self.poll_seconds = poll_seconds
        self.devices: tuple[str, ...] = ()

    def run(
        self, make_evaluator: Callable[[], Evaluator], jobs: Sequence[Job]
    ) -> Generator[Outcome, None, None]:
        """Yield one outcome per task, in any order; `make_evaluator` must be picklable.

        Closing the generator cancels all jobs.

        Raises:
            ConfigError: submitit or the scheduler is not there, or refuses a parameter.
            CreditingError: as raised in a job.
            EvaluationError: jobs keep dying before they can evaluate anything, or cannot be
                submitted.
            RuntimeError: an evaluator raised; holds the traceback of the job.
        """
        if not jobs:
            return
        cluster = self._made_cluster()
        pickled = pickle.dumps(make_evaluator)
        identity = getattr(make_evaluator, "identity", None)
        with claimed(self._place() / "spool", identity) as spool:
            yield from _Driver(self, cluster, spool, pickled, jobs).outcomes()

    def check(self) -> None:
        """Raise ConfigError if the scheduler is not there, or refuses a parameter."""
        self._made_cluster()

    def sized(self, capacity: int, devices: Sequence[str] = ()) -> "Slurm":
        """Return this executor, whose jobs take turns on these GPUs if they run on this machine."""
        sized = copy.copy(self)
        sized.devices = tuple(devices) if self.cluster == "local" else ()
        return sized

    def width(self) -> int:
        """Return how many coalitions are evaluated at once, given enough of them."""
        return self.workers

    def _place(self) -> Path:
        return Path(self.folder).expanduser().absolute()

    def _made_cluster(self) -> Cluster:
        return Cluster(
            self.cluster,
            self._place() / "logs",
            self.workers,
            self.timeout_min,
            self.parameters,
            self.retries,
        )


@dataclass
class _Flight:
    """A submission under way: its job on the cluster and what it was given."""

    token: str
    job: Any
    jobs: Sequence[Job]
    mine: bool
    """Whether this driver submitted it."""
    looks_since_the_end: int = 0


class _Driver:
    """What is awaited, what is under way, and what is to be submitted."""

    def __init__(
        self,
        settings: Slurm,
        cluster: Cluster,
        spool: Spool,
        make_evaluator: bytes,
        jobs: Sequence[Job],
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._spool = spool
        self._make_evaluator = make_evaluator
        self._jobs = jobs
        self._awaited = {name_of(task): task for job in jobs for task in job}
        self._flights: list[_Flight] = []
        self._queue: deque[Sequence[Job]] = deque()
        self._deaths: Counter[Task] = Counter()
        self._gpus = cycle(settings.devices or (None,))

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield the outcomes; cancel everything if that is not to the end."""
        try:
            self._spool.discard_errors()
            yield from self._arrived()
            self._take_over()
            self._queue.extend(self._batches())
            while self._awaited:
                self._submit_what_fits()
                yield from self._look()
                if self._awaited:
                    time.sleep(self._settings.poll_seconds)
        except BaseException:
            self._cancel()
            raise
        self._cluster.let_exit([flight.job for flight in self._flights])
        self._cancel()
        self._spool.clear()

    # ------------------------------------------------------------------------------ submitting

    def _take_over(self) -> None:
        """Wait for what a killed driver submitted, where that goes on."""
        for token, cluster_id, names in self._spool.submissions():
            theirs = [job for job in self._jobs if any(name_of(task) in names for task in job)]
            job = self._cluster.revived(cluster_id) if theirs and cluster_id else None
            if job is None:
                self._spool.forget_submission(token)
            else:
                self._flights.append(_Flight(token, job, theirs, mine=False))

    def _batches(self) -> Iterator[Sequence[Job]]:
        under_way = {task for flight in self._flights for job in flight.jobs for task in job}
        left = self._left([[t for t in job if t not in under_way] for job in self._jobs])
        size = self._settings.jobs_per_submission
        if size == "auto":
            size = max(1, math.ceil(len(left) / (_TURNS * self._settings.workers)))
        for first in range(0, len(left), int(size)):
            yield left[first : first + int(size)]

    def _left(self, jobs: Sequence[Sequence[Task]]) -> list[Job]:
        """Return of jobs what is still awaited."""
        awaited = [tuple(t for t in job if name_of(t) in self._awaited) for job in jobs]
        return [job for job in awaited if job]

    def _submit_what_fits(self) -> None:
        room = len(self._queue)
        if self._cluster.name != "slurm":  # which sees to it by itself
            room = self._settings.workers - len(self._flights)
        batches = [self._queue.popleft() for _ in range(min(room, len(self._queue)))]
        if not batches:
            return
        tokens = [uuid4().hex for _ in batches]
        threads = self._cluster.threads
        submissions = [
            Submission(self._make_evaluator, batch, self._spool, token, threads, gpu)
            for token, batch, gpu in zip(tokens, batches, self._gpus, strict=False)
        ]
        with self._cluster.without_interrupts():
            self._note(tokens, batches, [None] * len(batches))
            submitted = self._cluster.submit(submissions)
            for token, batch, job in zip(tokens, batches, submitted, strict=True):
                self._flights.append(_Flight(token, job, batch, mine=True))
            self._note(tokens, batches, [job.job_id for job in submitted])

    def _note(
        self, tokens: list[str], batches: list[Sequence[Job]], ids: Sequence[str | None]
    ) -> None:
        for token, batch, cluster_id in zip(tokens, batches, ids, strict=True):
            tasks = [task for job in batch for task in job]
            self._spool.note_submission(token, cluster_id, tasks)

    def _cancel(self) -> None:
        self._cluster.cancel([flight.job for flight in self._flights])
        self._spool.forget_submissions()

    # ------------------------------------------------------------------------------ waiting

    def _look(self) -> Iterator[Outcome]:
        """Yield what has arrived, and see to submissions that have ended.

        Their ends are asked for first: what arrives thereafter is all that they wrote. A network
        file system may show that later, hence the second look.
        """
        for flight in self._flights:
            flight.looks_since_the_end += self._cluster.has_ended(flight.job)
        yield from self._arrived()
        self._spool.raise_what_was_raised()
        for flight in [one for one in self._flights if one.looks_since_the_end]:
            left = self._left(flight.jobs)
            if not left or flight.looks_since_the_end > 1:
                self._flights.remove(flight)
                self._spool.forget_submission(flight.token)
                yield from self._take_back(flight, left)

    def _arrived(self) -> Iterator[Outcome]:
        """Yield what has arrived; its files stay, lest a job that is begun anew repeats it."""
        for name in self._spool.names() & self._awaited.keys():
            task = self._awaited[name]
            outcome = self._spool.outcome(task)
            del self._awaited[name]
            yield outcome

    def _take_back(self, flight: _Flight, left: list[Job]) -> Iterator[Outcome]:
        """Submit again what is left of a job that died; the first of it was in work."""
        if not left:
            return
        if not flight.mine:
            self._queue.append(left)
            return
        suspects, others = left[0], left[1:]
        self._deaths.update(suspects)
        dead = [task for task in suspects if self._deaths[task] > self._settings.retries]
        if dead and not self._spool.was_ready(flight.token):
            raise EvaluationError(
                f"a job died {self._settings.retries + 1} times before it could evaluate anything, "
                "usually because memory ran out (executor.parameters.mem_gb). Its log is "
                f"{flight.job.paths.stderr}. What was recorded before is kept"
            )
        again: list[Job] = [(task,) for task in suspects if task not in dead]
        if again or others:
            self._queue.appendleft([*again, *others])
        for task in dead:
            del self._awaited[name_of(task)]
            why = (
                "memory or time ran out: raise executor.parameters.mem_gb or "
                f"executor.timeout_min. The log of the last job is {flight.job.paths.stderr}"
            )
            yield given_up(task, self._settings.retries + 1, why)
