"""One training in several processes of this machine, each with a device of its own.

Every process computes its part of each step's batch, and the gradients are averaged over all.
"""

import os
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import distributed

from crediting.errors import CreditingError, as_user_error
from crediting.multiprocess import (
    exit_with_parent,
    most_resident,
    start,
    starting_context,
    tell_memory,
)
from crediting.training.batches import Batch

_SECONDS_TO_EXIT = 10


def share_of(batch: Batch, rank: int, processes: int) -> tuple[Batch, float]:
    """Return the part of a batch that one of several processes computes, and the loss's weight.

    With their mean losses weighted so, the mean over processes is the mean over the batch. A
    process that nothing is left for computes the first example with weight 0: it cannot be absent
    when gradients are averaged.
    """
    size = len(batch[0])
    first, end = (size * number // processes for number in (rank, rank + 1))
    weight = processes * (end - first) / size
    part = slice(first, end) if first < end else slice(1)
    ids, timesteps, flipped = batch
    return (ids[part], timesteps[part], None if flipped is None else flipped[part]), weight


def run_together(processes: int, device: str, work: Callable[[int], None]) -> None:
    """Call `work` with 0, 1, ... in so many processes that can average their gradients.

    Args:
        processes: how many; on cuda each has the GPU of its number.
        device: cuda or cpu.
        work: can be pickled; told the number of its process. All processes are stopped as soon as
            it fails in one of them, or this one is interrupted or dies.

    Raises:
        CreditingError: as raised in a process; or one was killed.
        RuntimeError: another error was raised in a process; holds its traceback.
    """
    context = starting_context(on_gpus=device == "cuda")
    ends = [context.Pipe(duplex=False) for _ in range(processes)]
    with TemporaryDirectory(prefix="credit-") as folder:
        place = _Place(processes, device, str(Path(folder) / "meeting"))
        team = [
            context.Process(target=_member, args=(rank, place, ends[rank][1], work))
            for rank in range(processes)
        ]
        try:
            start(team)
            for _, sender in ends:
                sender.close()  # theirs alone: when they die, it ends
            _wait_for(dict(zip((receiver for receiver, _ in ends), team, strict=True)))
        finally:
            for process in team:
                if process.pid is not None:
                    process.kill()
                    process.join()


class _Place(NamedTuple):
    """Where processes meet: how many they are, on what, and the file by which they find another."""

    processes: int
    device: str
    meeting: str


class _Ended(NamedTuple):
    """What a process says last: how it failed ("": not at all), and the most memory it took."""

    traceback: str
    mendable: CreditingError | None
    resident: int
    allocated: int


def _wait_for(team: Mapping[Connection, Any]) -> None:
    """Return when all processes are done, and raise what the first to fail has to say."""
    waiting = list(team)
    while waiting:
        for receiver in wait(waiting):
            assert isinstance(receiver, Connection)
            waiting.remove(receiver)
            try:
                ended = receiver.recv()
            except EOFError:
                raise _death(team[receiver]) from None
            tell_memory(ended.resident, ended.allocated)
            if ended.traceback:
                raise ended.mendable or RuntimeError(
                    f"a training process raised\n{ended.traceback}"
                )
    for process in team.values():
        process.join(_SECONDS_TO_EXIT)


def _death(process: Any) -> Exception:
    """Return the error for a process that ended without a word."""
    process.join()
    if process.exitcode >= 0:
        return RuntimeError(
            f"a training process ended with exit code {process.exitcode}; what it printed is above"
        )
    return CreditingError(
        f"a training process was killed (signal {-process.exitcode}), most often for want of "
        "memory: lower runtime.training_processes or the batch size. What was saved is kept: run "
        "the same command again to continue"
    )


def _member(rank: int, place: _Place, sender: Connection, work: Callable[[int], None]) -> None:
    """Do the work of one process and send how it ended."""
    exit_with_parent()
    failure, mendable = "", None
    try:
        _meet(rank, place)
        work(rank)
        distributed.destroy_process_group()
    except BaseException as error:
        failure, mendable = "".join(traceback.format_exception(error)), as_user_error(error)
    with suppress(BrokenPipeError):  # it was stopped meanwhile
        on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
        sender.send(_Ended(failure, mendable, most_resident(), on_gpu))


def _meet(rank: int, place: _Place) -> None:
    """Join the processes, and say so where accelerate looks for it."""
    count = str(place.processes)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    # accelerate would choose a number of threads itself
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    if place.device == "cuda":
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if place.device == "cuda" else "gloo",
        init_method=f"file://{place.meeting}",  # a file: a port may be taken in the meantime
        rank=rank,
        world_size=place.processes,
    )
