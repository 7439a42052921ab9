"""What the worker processes of `Processes` inherit: their threads, their GPU, and no Ctrl-C."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

GPU = "CUDA_VISIBLE_DEVICES"
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)


@contextmanager
def environment_of_workers() -> Iterator[None]:
    """Let processes started here use one thread each and leave Ctrl-C to the driver.

    A Ctrl-C meanwhile is heeded in the end: nothing is half started. Within, `os.environ[GPU]` may
    be set for each process: it is put back with the rest.
    """
    with interrupts_later(), environment(ONE_THREAD, GPU):
        yield


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Block Ctrl-C for what is started here, and put it off for this process.

    To block it does not put it off where there are other threads, such as that of a progress bar:
    one of them takes it, and Python raises it in the main thread all the same.
    """
    came: list[int] = []
    in_charge = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    if in_charge:
        signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # one that waited comes now
        if in_charge:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def environment(variables: Mapping[str, str], *others: str) -> Iterator[None]:
    """Set variables of the environment, and put them and the others back afterwards."""
    before = {name: os.environ.get(name) for name in (*variables, *others)}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
