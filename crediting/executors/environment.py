"""What the worker processes of `Processes` inherit: their threads, their GPU, and no Ctrl-C."""

import os
import signal
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

    Within, `os.environ[GPU]` may be set for each of them: it is put back with the rest.
    """
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment(ONE_THREAD, GPU):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)  # last: a waiting Ctrl-C raises here


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
