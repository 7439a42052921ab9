"""Processes beside this one: how they are started, and the most memory that any of them took."""

import resource
import sys
from multiprocessing import get_context
from multiprocessing.context import BaseContext

_told = 0


def starting_context(on_gpus: bool) -> BaseContext:
    """Return how to start processes that are to see GPUs, or none.

    On Linux they are forked from a process that has imported what this one has of `crediting`
    by now, and does nothing else: imports take seconds, and comparing methods starts workers for
    each. They inherit the environment of the moment at which the first was started. For GPUs every
    process is started afresh: a library may look at them while it is imported, and a fork cannot
    use what was looked at before.
    """
    if on_gpus or not sys.platform.startswith("linux"):
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if _is_ours(name)])
    return context


def most_resident() -> int:
    """Return the bytes that the largest of this process and those it started had resident."""
    return max(_told, *(_resident(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def tell_resident(memory: int) -> None:
    """Take notice of the `most_resident` of a process that somebody else started for this one."""
    global _told
    _told = max(_told, memory)


def _resident(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(who).ru_maxrss


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "crediting" and name != "crediting.__main__"
