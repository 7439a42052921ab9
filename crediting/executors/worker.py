"""What runs inside a worker: of `Processes`, and in part of executors that reach further."""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple, NoReturn

from crediting.errors import CreditingError, DeviceLostError, as_user_error
from crediting.interfaces import Evaluator, Job, Outcome, Task
from crediting.multiprocess import exit_with_parent, most_resident


class Raised(NamedTuple):
    """An exception on its way to the driver: as text, and as an error if the user can mend it.

    Returned, not raised: an exception that cannot be unpickled would break the pool.
    """

    doing: str
    """What the worker was doing, and with which job."""
    traceback: str
    mendable: CreditingError | None


class Answer(NamedTuple):
    """What a worker made of a job, and the most memory it took so far, in bytes."""

    outcomes: Sequence[Outcome] | Raised
    resident: int


_evaluator: Evaluator | Raised


def start_worker(
    make_evaluator: bytes, control: Connection, variables: Mapping[str, str] | None
) -> None:
    """Build the evaluator, pickled here so that failing to unpickle it is reported like the rest.

    A message on `control` tells that the worker is ready; its end tells the worker to exit.
    `variables` are all of its environment, or None if it inherited the right one.
    """
    global _evaluator
    # inherited, unless what forks workers was started by somebody else in this process
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    exit_with_parent(control)
    if variables is not None:
        os.environ.clear()
        os.environ.update(variables)
    _evaluator = build(make_evaluator)
    with suppress(BrokenPipeError):  # the driver stopped meanwhile: the thread is about to exit
        control.send_bytes(b"ready")


def report_for_duty() -> None:
    """Do nothing: a pool starts one worker for each task that finds none idle."""


def evaluate(job: Job) -> Answer:
    """Return what the evaluator of this worker makes of a job, or what it raised."""
    return Answer(answer(_evaluator, job), most_resident())


def build(make_evaluator: bytes) -> Evaluator | Raised:
    """Return the evaluator that a pickled function makes, or what came of trying."""
    try:
        evaluator: Evaluator = pickle.loads(make_evaluator)()
    except BaseException as error:
        return raised_while("building the evaluator", error)
    return evaluator


def answer(evaluator: Evaluator | Raised, job: Job) -> Sequence[Outcome] | Raised:
    """Return what an evaluator makes of a job, or what it or its building raised.

    A worker whose GPU is lost ends, so that the job is tried again by another.
    """
    if isinstance(evaluator, Raised):
        return evaluator
    try:
        return evaluator(job)
    except DeviceLostError:
        die()
    except BaseException as error:
        return raised_while(evaluating(job), error)


def evaluating(job: Job) -> str:
    """Say what a worker is doing."""
    return f"evaluating; the job was {job}"


def die() -> NoReturn:
    """Print the error at hand and end this process as if it had been killed."""
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


def raised_while(doing: str, error: BaseException) -> Raised:
    """Return an exception as it is sent to the driver."""
    return Raised(doing, "".join(traceback.format_exception(error)), as_user_error(error))


def outcomes(returned: Sequence[Outcome] | Raised) -> Sequence[Outcome]:
    """Return, in the driver, what a worker made of a job; raises as `raise_again`."""
    if isinstance(returned, Raised):
        raise_again(returned)
    return returned


def raise_again(raised: Raised) -> NoReturn:
    """Raise, in the driver, what a worker did.

    Raises:
        CreditingError: as raised in the worker.
        RuntimeError: the evaluator raised anything else; holds the traceback of the worker.
    """
    if raised.mendable is not None:
        raise raised.mendable
    raise RuntimeError(f"a worker raised while {raised.doing}\n{raised.traceback}")


def given_up(task: Task, tries: int, why: str) -> Outcome:
    """Return what stands for a task whose worker died at every try, mostly for a reason."""
    message = f"worker died {tries} times while this coalition was evaluated, usually because {why}"
    return Outcome(task, {}, {"": message}, seed=-1, seconds=0.0, device="unknown")
