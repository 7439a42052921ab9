"""Processes beside this one: how they start and end, and the most memory that any of them took."""

import os
import resource
import signal
import sys
from collections.abc import Iterable
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from threading import Thread

_PRELOADED = ("crediting", "diffusers", "transformers", "torchvision")
_elsewhere = {"resident": 0, "allocated": 0}


def starting_context(on_gpus: bool) -> ForkServerContext | SpawnContext:
    """Return how to start processes that are to see GPUs, or none.

    On Linux they are forked from a process that has imported what this one has by now of
    `crediting` and of what takes seconds to import, and does nothing else: comparing methods
    starts workers for each. They inherit the environment of the moment at which the first was
    started. For GPUs every process is started afresh: a library may look at them while it is
    imported, and a fork cannot use what was looked at before.
    """
    resource_tracker.ensure_running()  # now: when it starts, it unblocks what signals were blocked
    if on_gpus or not sys.platform.startswith("linux"):
        return get_context("spawn")
    context = get_context("forkserver")
    imported = [name for name in sys.modules if name.partition(".")[0] in _PRELOADED]
    context.set_forkserver_preload([name for name in imported if name != "crediting.__main__"])
    return context


def start(processes: Iterable[BaseProcess]) -> None:
    """Start processes that leave Ctrl-C to this one."""
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for process in processes:
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def exit_with_parent(*told_by: Connection) -> None:
    """From now on, exit at once when the parent is no more, or a connection speaks or ends."""
    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def exit_when_told() -> None:
        wait([sentinel, *told_by])
        os._exit(1)  # not sys.exit: the main thread may be deep in a computation

    Thread(target=exit_when_told, daemon=True).start()


def most_resident() -> int:
    """Return the bytes that the largest of this process and those it started had resident."""
    own = (_resident(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(_elsewhere["resident"], *own)


def most_allocated_elsewhere() -> int:
    """Return the most bytes on a GPU of a process that told, since `forget_allocated`."""
    return _elsewhere["allocated"]


def forget_allocated() -> None:
    """Forget what other processes told of GPUs."""
    _elsewhere["allocated"] = 0


def tell_memory(resident: int, allocated: int = 0) -> None:
    """Take notice of the most bytes that another process had resident, or on a GPU."""
    _elsewhere["resident"] = max(_elsewhere["resident"], resident)
    _elsewhere["allocated"] = max(_elsewhere["allocated"], allocated)


def _resident(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(who).ru_maxrss
