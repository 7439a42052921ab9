"""Work on many items, as many at a time as memory allows."""

import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from crediting.errors import is_out_of_memory
from crediting.progress import say

Given = TypeVar("Given")
Result = TypeVar("Result")


def in_halves(
    work: Callable[[Tensor], Result],
    items: Tensor,
    most: int,
    on_halving: Callable[[int], None] = lambda size: None,
) -> list[Result]:
    """Return what work gives for the items (N, ...), in order, batch by batch.

    Batches have at most so many items; where memory does not suffice for one, it and all after it
    are halved, and `on_halving` is told how many were too many. What is done for an item must not
    depend on the others in its batch.

    Raises:
        torch.OutOfMemoryError: there is not the memory for a single item.
    """
    done: list[Result] = []
    while len(items):
        batch = items[:most]
        result = _tried(work, batch, len(batch))
        if result is None:
            on_halving(len(batch))
            most = len(batch) // 2
        else:
            done += result
            items = items[len(batch) :]
    return done


class Portion:
    """How many items of a batch are worked on at once: all, until memory does not suffice.

    Args:
        told: what is said when it first does not, once.
    """

    def __init__(self, told: str) -> None:
        self._told = told
        self._most = sys.maxsize

    def do(self, work: Callable[[int], None], size: int) -> None:
        """Do work on a batch, told how many of its items to take at once.

        Where memory does not suffice it is done from its beginning again, with half as many, and
        all that comes later is begun with as many as have sufficed.

        Raises:
            torch.OutOfMemoryError: there is not the memory for a single item.
        """
        while not _tried(work, at_once := min(size, self._most), at_once):
            if self._most == sys.maxsize:
                say(self._told)
            self._most = at_once // 2


def _tried(work: Callable[[Given], Result], given: Given, size: int) -> list[Result] | None:
    """Return the result alone in a list, or None if memory does not suffice for so many items."""
    try:
        return [work(given)]
    except RuntimeError as error:
        if size == 1 or not is_out_of_memory(error) or _is_recording():
            raise
    if torch.cuda.is_initialized():  # only now is the memory free that the traceback held
        torch.cuda.empty_cache()
    return None


def _is_recording() -> bool:
    """Whether a CUDA graph is being recorded, in which work that is done again would stay twice."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
