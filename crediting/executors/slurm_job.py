"""What runs inside a job that `Slurm` submitted."""

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from crediting.errors import ANY_FAILURE, DeviceLostError
from crediting.executors.environment import GPU, ONE_THREAD
from crediting.executors.spool import Spool
from crediting.executors.worker import die, evaluating, raised_while
from crediting.interfaces import Evaluator, Job


@dataclass(eq=False)
class Submission:
    """Evaluates jobs in order, with one evaluator, writing each outcome into the spool at once.

    What is there already is left out; so it may be begun anew at any time, as submitit does after
    pre-emption or when the time is up. It ends when the spool has no note of it: whoever goes on
    after a driver that was killed before it knew of the job submits the same again.
    `make_evaluator` is pickled here, because unpickling it imports torch, before which the number
    of threads must be set, and the GPU if it is given (as submitit hides all from processes of this
    machine), and may fail.
    """

    make_evaluator: bytes
    jobs: Sequence[Job]
    spool: Spool
    token: str
    threads: int
    gpu: str | None = None

    def __post_init__(self) -> None:
        self._told_to_stop = False
        self._driver = os.getpid()  # with cluster=debug it is evaluated there

    def __call__(self) -> None:
        """Evaluate what has no outcome yet; an error is written into the spool, not raised."""
        threads = os.environ.get("SLURM_CPUS_PER_TASK", str(self.threads))
        os.environ.update(dict.fromkeys(ONE_THREAD, threads))
        if self.gpu is not None:
            os.environ[GPU] = self.gpu
        evaluator = self._built() if self.spool.is_noted(self.token) else None
        if evaluator is None:
            return
        self.spool.note_ready(self.token)
        for job in self.jobs:
            left = tuple(task for task in job if not self.spool.has(task))
            if left and not (self.spool.is_noted(self.token) and self._evaluated(evaluator, left)):
                return

    def checkpoint(self) -> Any:
        """Return what is to be submitted in place of this; submitit asks in a signal handler."""
        from submitit.helpers import DelayedSubmission

        self._told_to_stop = True
        left = [job for job in self.jobs if not all(map(self.spool.has, job))]
        return DelayedSubmission(replace(self, jobs=left))

    def _built(self) -> Evaluator | None:
        try:
            made: Evaluator = pickle.loads(self.make_evaluator)()
        except ANY_FAILURE as error:
            self._tell("building the evaluator", error)
            return None
        return made

    def _evaluated(self, evaluator: Evaluator, job: Job) -> bool:
        try:
            outcomes = evaluator(job)
        except ANY_FAILURE as error:
            if isinstance(error, DeviceLostError) and os.getpid() != self._driver:
                die()  # another array task tries again
            self._tell(evaluating(job), error)
            return False
        if self._told_to_stop:  # its failures may be the stop, which it took for an error
            return False
        for outcome in outcomes:
            self.spool.put(outcome)
        return True

    def _tell(self, doing: str, error: BaseException) -> None:
        if self._told_to_stop:
            raise error
        self.spool.put_raised(raised_while(doing, error))
