"""What processes that share a training do in tests: they import it, and it imports little."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import distributed

from crediting.errors import ConfigError
from crediting.training.distributed import run_together


def add_up(folder: Path, rank: int) -> None:
    """Note the sum of all numbers of processes, as they told one another."""
    total = torch.tensor(float(rank + 1))
    distributed.all_reduce(total)
    (folder / f"{rank}-{total.item():g}").touch()


def slip_in_the_second(rank: int) -> None:
    if rank == 1:
        raise ZeroDivisionError("a slip of ours")
    distributed.barrier()


def misconfigured_in_the_second(rank: int) -> None:
    if rank == 1:
        raise ConfigError("optimizer: adamw8bit needs the package bitsandbytes")
    time.sleep(600)


def killed_in_the_second(rank: int) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def sleep(folder: Path, rank: int) -> None:
    """Note this process, and whether it leaves interrupts to the one that started it."""
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    (folder / f"pid-{os.getpid()}-{blocked}").touch()
    time.sleep(600)


class VanishesWhenUnpickled:
    """Stands for work whose module the process cannot import."""

    def __reduce__(self) -> tuple:
        return _raise_import_error, ()


def _raise_import_error() -> None:
    raise ImportError("no module named their_model")


if __name__ == "__main__":
    # a shell has its background jobs ignore interrupts, and so have all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_together(2, "cpu", partial(sleep, Path(sys.argv[1])))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
