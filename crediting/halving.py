"""Work on many items, as many at a time as memory allows."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def in_halves(work: Callable[[Tensor], Result], items: Tensor, most: int) -> list[Result]:
    """Return what work gives for the items (N, ...), in order, batch by batch.

    Batches have at most so many items; where memory does not suffice for one, it and all after it
    are halved. What is done for an item must not depend on the others in its batch.

    Raises:
        torch.OutOfMemoryError: there is not the memory for a single item.
    """
    done: list[Result] = []
    while len(items):
        batch = items[:most]
        result = _tried(work, batch)
        if result is None:
            most = len(batch) // 2  # only now is the memory free that the traceback held
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        else:
            done += result
            items = items[len(batch) :]
    return done


def _tried(work: Callable[[Tensor], Result], batch: Tensor) -> list[Result] | None:
    """Return the result alone in a list, or None if memory does not suffice for so many."""
    try:
        return [work(batch)]
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    return None
