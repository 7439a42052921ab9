"""The scheduler of a cluster, by way of submitit."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from crediting.errors import ConfigError, EvaluationError
from crediting.executors.environment import ONE_THREAD, environment, interrupts_later

CLUSTERS = ("slurm", "local", "debug")

_ALIVE = ("READY", "PENDING", "RUNNING", "REQUEUED", "COMPLETING", "PREEMPTED", "SUSPENDED")
_PREEMPTED_FOR_GOOD = 900.0  # seconds; submitit hears of a change of state after 600 at the latest
_TIME_TO_EXIT = 10.0  # seconds


class Cluster:
    """Submits callables as the tasks of an array, of which `at_once` run at a time.

    Raises:
        ConfigError: submitit is not installed, the scheduler is not there, or does not know a
            parameter.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        at_once: int,
        timeout_min: int,
        parameters: Mapping[str, Any],
        timeouts: int,
    ) -> None:
        submitit = _submitit()
        self.name = name
        self._logs = folder
        given = {key: value for key, value in parameters.items() if value is not None}
        self.threads = int(given.get("cpus_per_task", 1))
        at_most = {} if name == "debug" else {f"{name}_max_num_timeout": timeouts}
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=name, **at_most)
        except RuntimeError as error:
            raise ConfigError(
                f"executor.cluster={name}: {error} Run the command where jobs can be submitted, "
                "or try it out with executor.cluster=local"
            ) from error
        common = {
            "name": "credit",
            "timeout_min": timeout_min,
            "slurm_array_parallelism": at_once,
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                self._executor.update_parameters(**{**common, **given})
        except (NameError, ValueError, AssertionError, TypeError, UserWarning) as error:
            raise ConfigError(f"executor.parameters: {error}") from error
        self._preempted: dict[str, float] = {}

    def submit(self, functions: Sequence[Callable[[], None]]) -> list[Any]:
        """Return a job of submitit for each function, all in one array where there are such.

        Raises:
            EvaluationError: the scheduler refused.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with self._surroundings():
                return list(self._executor.submit_array(functions))
        except (FailedJobError, FailedSubmissionError) as error:
            raise EvaluationError(
                f"the scheduler refused a job; what it takes is set by executor.parameters: {error}"
            ) from error

    def without_interrupts(self) -> AbstractContextManager[None]:
        """Put off Ctrl-C while the scheduler is spoken to: nobody would know of what it took.

        A local job must not inherit that: an interrupt is what cancels it.
        """
        return interrupts_later() if self.name == "slurm" else nullcontext()

    def revived(self, cluster_id: str) -> Any | None:
        """Return a job that a driver before submitted, or None if it is not known to go on."""
        if self.name != "slurm":
            return None
        from submitit import SlurmJob

        job: Any = SlurmJob(self._logs, cluster_id)
        return job if not job.done() and job.state.split()[0].upper() in _ALIVE else None

    def has_ended(self, job: Any) -> bool:
        """Return whether a job has come to its end, in whichever way."""
        if job.done():
            return True
        if not job.state.upper().startswith("PREEMPTED"):
            self._preempted.pop(job.job_id, None)
            return False
        since = self._preempted.setdefault(job.job_id, time.monotonic())
        return time.monotonic() - since > _PREEMPTED_FOR_GOOD

    def cancel(self, jobs: Sequence[Any]) -> None:
        """Cancel what goes on; return when it has ended, or some seconds later."""
        for job in jobs:
            if self.name == "debug" or not job.done():
                with suppress(OSError):
                    job.cancel(check=False)
        if self.name == "local":
            self.let_exit(jobs)

    def let_exit(self, jobs: Sequence[Any]) -> None:
        """Wait some seconds for jobs that have nothing left to do."""
        deadline = time.monotonic() + _TIME_TO_EXIT
        while not all(job.done() for job in jobs) and time.monotonic() < deadline:
            time.sleep(0.05)

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Let jobs inherit their number of threads, and what local ones complain of go to a file.

        The process with which submitit controls a local job would print a traceback on Ctrl-C, by
        which it is cancelled: a command in the background of a script ignores that, and jobs must
        not inherit it.
        """
        heeding = _heeding_interrupts() if self.name == "local" else nullcontext()
        terminal = os.dup(2)
        try:
            if self.name == "local":
                with (self._logs / "controllers.err").open("ab") as log:
                    os.dup2(log.fileno(), 2)
            with heeding, environment(dict.fromkeys(ONE_THREAD, str(self.threads))):
                yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def _heeding_interrupts() -> Iterator[None]:
    """Let what is started meanwhile end on an interrupt, which this process goes on ignoring."""
    in_charge = threading.current_thread() is threading.main_thread()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN or not in_charge:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            "executor=slurm needs submitit, which is not installed: pip install submitit"
        ) from error
    return submitit
