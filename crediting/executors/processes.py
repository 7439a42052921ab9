"""Coalitions in several processes of this machine, which survive a crash of one of them."""

import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from multiprocessing.context import BaseContext
from typing import TypeVar

from crediting.errors import EvaluationError
from crediting.executors.environment import GPU, environment_of_workers
from crediting.executors.settings import require_count
from crediting.executors.worker import (
    Answer,
    Raised,
    evaluate,
    given_up,
    outcomes,
    report_for_duty,
    start_worker,
)
from crediting.interfaces import Evaluator, Job, Outcome, Task
from crediting.multiprocess import starting_context, tell_memory

_T = TypeVar("_T")


class Processes:
    """Evaluates in `workers` processes, never more than there are jobs.

    "auto" stands for as many as the machine can well hold, which `sized` must be told: `per_gpu`
    on each GPU, or what its cores allow if there is none. Worker number i sees no GPU but number
    i mod k of k; where a worker died, all of them are dealt anew.

    A task that was in flight when a worker died is tried again, by itself and at most `retries`
    times; then an outcome with a failure, seed -1 and 0 seconds stands for it. Close the iterator
    that `run` returns to stop at once.

    Raises:
        ConfigError: `workers` is neither a positive integer nor "auto", `retries` is negative, or
            `per_gpu` is no positive integer.
    """

    def __init__(self, workers: int | str, retries: int, per_gpu: int) -> None:
        require_count("workers", workers, 1, or_auto=True)
        require_count("retries", retries, 0)
        require_count("per_gpu", per_gpu, 1)
        self.workers = workers
        self.retries = retries
        self.per_gpu = per_gpu
        self._devices: tuple[str, ...] = ()

    def run(
        self, make_evaluator: Callable[[], Evaluator], jobs: Sequence[Job]
    ) -> Generator[Outcome, None, None]:
        """Yield one outcome per task, in any order; `make_evaluator` must be picklable.

        Raises:
            CreditingError: as raised in a worker.
            EvaluationError: workers keep dying before they can evaluate anything.
            RuntimeError: an evaluator raised; holds the traceback of the worker.
        """
        size = min(self.width(), len(jobs))
        evaluator = pickle.dumps(make_evaluator)
        context = starting_context(on_gpus=bool(self._devices))
        backlog = _Backlog(jobs, size, self.retries)
        while backlog:
            with ExitStack() as at_the_end:
                with environment_of_workers():
                    crew = at_the_end.enter_context(_Crew(context, size, evaluator, self._devices))
                    crew.start()
                lost = yield from _work_until_a_worker_dies(crew, backlog)
                crew_was_ready = crew.was_ready()
                if lost:
                    crew.stop()
            abandoned = backlog.take_back(lost)
            if abandoned and not crew_was_ready:
                raise EvaluationError(
                    f"a worker died {self.retries + 1} times before it could evaluate anything, "
                    f"usually because memory ran out. Lower executor.workers, now {size}, or see "
                    "why with executor=serial. What was recorded before is kept"
                )
            for task in abandoned:
                yield given_up(task, self.retries + 1, "memory ran out: lower executor.workers")

    def sized(self, capacity: int, devices: Sequence[str] = ()) -> "Processes":
        """Return the executor for a machine with these GPUs, and with workers for "auto"."""
        room = len(devices) * self.per_gpu if devices else capacity
        workers = room if self.workers == "auto" else self.workers
        sized = Processes(workers, self.retries, self.per_gpu)
        sized._devices = tuple(devices)
        return sized

    def sharing(self, per_gpu: int) -> "Processes":
        """Return the executor, sized before, with so many workers on each GPU."""
        shared = Processes(len(self._devices) * per_gpu, self.retries, per_gpu)
        shared._devices = self._devices
        return shared

    def width(self) -> int:
        """Return how many coalitions are evaluated at once, given enough of them."""
        if self.workers == "auto":
            raise RuntimeError("the executor was not sized")
        return int(self.workers)


class _Backlog:
    """The jobs still to be submitted.

    A pool breaks as a whole, so whatever was in flight is suspected of having killed the worker.
    Suspects go first and alone, one job after another; of a job that a worker died with alone each
    task goes for itself, and so does every one that has a single retry left: then only the culprit
    uses up its retries.
    """

    def __init__(self, jobs: Sequence[Job], size: int, retries: int) -> None:
        self._fresh = deque(jobs)
        self._suspects: deque[Job] = deque()
        self._deaths: Counter[Task] = Counter()
        self._most_in_flight = 2 * size  # no worker waits for the driver, and stopping is quick
        self._retries = retries

    def __bool__(self) -> bool:
        return bool(self._suspects or self._fresh)

    def next(self, in_flight: Collection[Job]) -> deque[Job] | None:
        """Return the queue whose first job may join those in flight, or None."""
        if self._suspects:
            return None if in_flight else self._suspects
        if any(task in self._deaths for job in in_flight for task in job):
            return None
        return self._fresh if self._fresh and len(in_flight) < self._most_in_flight else None

    def take_back(self, lost: Sequence[Job]) -> list[Task]:
        """Queue the tasks that a worker died with; return those that have no retries left."""
        for job in lost:
            self._deaths.update(job)
            again = tuple(task for task in job if self._deaths[task] <= self._retries)
            together = len(lost) > 1 and all(self._deaths[task] < self._retries for task in again)
            self._suspects.extend([again] if together and again else [(task,) for task in again])
        return [task for job in lost for task in job if self._deaths[task] > self._retries]


class _Crew:
    """A pool of workers that exit as soon as the driver stops them or is no more.

    Make and start it in the environment of workers.
    """

    def __init__(
        self, context: BaseContext, size: int, make_evaluator: bytes, devices: Sequence[str]
    ) -> None:
        self._size = size
        self._devices = devices
        self._control, self._worker_end = context.Pipe()
        variables = None if devices else dict(os.environ)  # as of now, for who is forked
        self._pool = ProcessPoolExecutor(
            size, context, start_worker, (make_evaluator, self._worker_end, variables)
        )

    def start(self) -> None:
        """Start all workers.

        That is before the first task: a pool still growing while one of its workers dies lists its
        processes in two threads at once, and its own thread fails.
        """
        with suppress(BrokenProcessPool):
            for number in range(self._size):
                if self._devices:  # inherited, so it holds before anything imports torch
                    os.environ[GPU] = self._devices[number % len(self._devices)]
                self.submit(report_for_duty)

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.stop()
        self._pool.shutdown(cancel_futures=True)
        self.stop()
        self._worker_end.close()

    def submit(self, work: Callable[..., _T], *arguments: Job) -> "Future[_T]":
        """Queue work; a pool that breaks at this very moment fails in its pipes first.

        Raises:
            BrokenProcessPool: a worker died meanwhile.
        """
        try:
            return self._pool.submit(work, *arguments)
        except (OSError, EOFError) as error:
            gone = isinstance(error, ConnectionError)  # what starts workers died with one of them
            if not (gone or self._pool._broken):
                raise
            raise BrokenProcessPool(str(error)) from error

    def was_ready(self) -> bool:
        """Return whether any worker came as far as to evaluate; ask before `stop`."""
        return self._control.poll()

    def stop(self) -> None:
        """Have all workers exit at once, whatever they are doing."""
        self._control.close()


def _work_until_a_worker_dies(
    crew: _Crew, backlog: _Backlog
) -> Generator[Outcome, None, list[Job]]:
    """Yield outcomes until all is done or the pool broke; return the jobs lost with it."""
    in_flight: dict[Future[Answer], Job] = {}
    lost: list[Job] = []
    while in_flight or (backlog and not lost):
        if not lost:
            lost += _submit_what_fits(crew, backlog, in_flight)
        done = wait(in_flight, return_when=FIRST_COMPLETED).done
        for future in sorted(done, key=_has_raised):  # what others have finished is not lost
            job = in_flight.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                lost.append(job)
            else:
                answer = future.result()
                tell_memory(answer.resident)
                yield from outcomes(answer.outcomes)
    return lost


def _has_raised(future: "Future[Answer]") -> bool:
    return future.exception() is None and isinstance(future.result().outcomes, Raised)


def _submit_what_fits(
    crew: _Crew, backlog: _Backlog, in_flight: "dict[Future[Answer], Job]"
) -> list[Job]:
    """Submit as many jobs as may be in flight; return the one that a broken pool refused."""
    while queue := backlog.next(in_flight.values()):
        job = queue.popleft()
        try:
            in_flight[crew.submit(evaluate, job)] = job
        except BrokenProcessPool:
            return [job]
    return []
