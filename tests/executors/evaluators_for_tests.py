"""Evaluators that spawned workers can import, and a driver that is there to be killed."""

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

from crediting.ending import heed_termination
from crediting.errors import ConfigError, DeviceLostError
from crediting.executors import Processes
from crediting.interfaces import Job, Outcome, Task


def tasks(count: int) -> list[Task]:
    return [Task(str(number), 0, ("score",)) for number in range(count)]


def jobs(count: int, size: int = 1) -> list[Job]:
    """Return so many tasks in jobs of a size; the last may be smaller."""
    every = tasks(count)
    return [tuple(every[first : first + size]) for first in range(0, count, size)]


class OneByOne:
    """An evaluator whose jobs are nothing but their tasks."""

    def __call__(self, job: Job) -> list[Outcome]:
        return [self.outcome(task) for task in job]


def outcome_of(task: Task, value: float) -> Outcome:
    return Outcome(task, {"score": value}, {}, seed=1, seconds=0.0, device=str(os.getpid()))


class Square(OneByOne):
    """Notes each time that it is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / f"built-{os.getpid()}-{uuid4().hex}").touch()

    def outcome(self, task: Task) -> Outcome:
        time.sleep(0.01)
        return outcome_of(task, int(task.coalition) ** 2)


class DiesOn(Square):
    """Is killed while it evaluates some coalitions, each the given number of times."""

    def __init__(self, folder: Path, deaths: dict[str, int]) -> None:
        super().__init__(folder)
        self.deaths = deaths

    def outcome(self, task: Task) -> Outcome:
        died = len(list(self.folder.glob(f"died-{task.coalition}-*")))
        if died < self.deaths.get(task.coalition, 0):
            (self.folder / f"died-{task.coalition}-{uuid4().hex}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().outcome(task)


class LosesItsGpu(DiesOn):
    """Raises, as often, what an evaluator raises whose GPU answers no more."""

    def outcome(self, task: Task) -> Outcome:
        died = len(list(self.folder.glob(f"died-{task.coalition}-*")))
        if died < self.deaths.get(task.coalition, 0):
            (self.folder / f"died-{task.coalition}-{uuid4().hex}").touch()
            raise DeviceLostError("the GPU answers no more")
        return Square.outcome(self, task)


class Sleeps(OneByOne):
    """Notes its process and then takes very long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def outcome(self, task: Task) -> Outcome:
        if task.coalition != "0":
            (self.folder / f"pid-{os.getpid()}").touch()
            time.sleep(600)
        return outcome_of(task, 0.0)


class RaisesOn3(OneByOne):
    def outcome(self, task: Task) -> Outcome:
        if task.coalition == "3":
            raise ZeroDivisionError("a slip of ours")
        return outcome_of(task, 0.0)


class Exits(OneByOne):
    def outcome(self, task: Task) -> Outcome:
        sys.exit(0)


def reports_its_environment() -> partial:
    return partial(_environment)


def _environment(job: Job) -> list[Outcome]:
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [outcome_of(job[0], float(os.environ["OMP_NUM_THREADS"] == "1" and blocked))]


class SeesItsGpu(DiesOn):
    """Notes which GPU its process may see, and dies only once all of a crew were built."""

    def __init__(self, folder: Path, deaths: dict[str, int], crew: int) -> None:
        super().__init__(folder, deaths)
        self.crew = crew
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
        state = "late" if "torch" in sys.modules else "early"
        (folder / f"sees-{gpu}-{state}-{uuid4().hex}").touch()

    def outcome(self, task: Task) -> Outcome:
        while len(list(self.folder.glob("sees-*"))) < self.crew:
            time.sleep(0.01)
        return super().outcome(task)


class TakesMemory(OneByOne):
    """Its outcomes tell whether torch had been imported when it was built."""

    def __init__(self, size: int) -> None:
        self.imported = "torch" in sys.modules
        self.memory = b"x" * size

    def outcome(self, task: Task) -> Outcome:
        return outcome_of(task, float(self.imported))


def lacks_its_model() -> None:
    raise FileNotFoundError("there is no model.safetensors")


def is_wrongly_configured() -> None:
    raise ConfigError("generation.steps must be positive, got -1")


def is_killed_while_built(folder: Path) -> None:
    (folder / f"built-{uuid4().hex}").touch()
    os._exit(9)


class VanishesWhenUnpickled:
    """Stands for an evaluator whose module the worker cannot import."""

    def __reduce__(self) -> tuple:
        return _raise_import_error, ()


def _raise_import_error() -> None:
    raise ImportError("no module named their_property")


if __name__ == "__main__":
    # a shell has its background jobs ignore interrupts, and so have all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    heed_termination()
    # as that of a progress bar, it takes signals that the main thread blocks
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    try:
        print("begins", flush=True)
        for outcome in Processes(2, 0, 1).run(partial(Sleeps, Path(sys.argv[1])), jobs(8)):
            print(outcome.task.coalition, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
