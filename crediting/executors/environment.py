"""What the worker processes of `Processes` inherit: their threads, their GPU, and no Ctrl-C."""

import os
import signal
from collections.abc import Iterator
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
    before = {name: os.environ.get(name) for name in (*ONE_THREAD, GPU)}
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)  # last: a waiting Ctrl-C raises here
