"""How `credit` ends: one message and an exit code, and a traceback for who wants it."""

import errno
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import parent_process
from threading import Thread
from types import FrameType
from typing import Any

from crediting.errors import CreditingError

_FULL_ERROR = "HYDRA_FULL_ERROR"
_NOT_BY_THE_USER = "CREDIT_HYDRA_RAISES"

_NOBODY_READS = (errno.EPIPE, errno.EIO)
"""Of a pipe whose reader has ended, and of a terminal that was closed on a job left behind."""


class JobFailed(Exception):  # noqa: N818  (not an error of its own)
    """What a parallel job of a sweep has to say in the process that started the sweep."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text, code)
        self.text = text
        self.code = code


@contextmanager
def hydra_raises() -> Iterator[None]:
    """Have Hydra raise its errors instead of printing them, in what is started here as well."""
    if os.environ.get(_FULL_ERROR) == "1":
        yield
        return
    os.environ[_FULL_ERROR] = os.environ[_NOT_BY_THE_USER] = "1"
    try:
        yield
    finally:
        del os.environ[_FULL_ERROR], os.environ[_NOT_BY_THE_USER]


def failure(mendable: CreditingError | None) -> JobFailed:
    """Return what is to be known of the error at hand, and the exit code: 2 if it can be mended."""
    wants_traceback = _FULL_ERROR in os.environ and _NOT_BY_THE_USER not in os.environ
    text = traceback.format_exc() if mendable is None or wants_traceback else ""
    if mendable is None:
        return JobFailed(text, 1)
    return JobFailed(f"{text}credit: {mendable}\n", 2)


def end(failed: JobFailed) -> SystemExit:
    """Print what a failure has to say and return what ends the process."""
    print(failed.text, end="", file=sys.stderr)
    return SystemExit(failed.code)


@cache
def end_with_the_starter() -> None:
    """Have a worker end as soon as the process that started it is no more; others go on.

    Those of joblib, which know no sentinel of the sweep, would finish their studies when it was
    killed.
    """
    starter = parent_process()
    if starter is not None:
        Thread(target=_end_without, args=(starter.pid,), daemon=True).start()


def _end_without(starter: int | None) -> None:
    while os.getppid() == starter:
        time.sleep(1)
    os._exit(1)  # not sys.exit: the main thread may be deep in a computation


def heed_termination() -> None:
    """Let SIGTERM, which schedulers and `kill` send, do what Ctrl-C does at that moment."""
    signal.signal(signal.SIGTERM, _as_ctrl_c)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    heeded = signal.getsignal(signal.SIGINT)
    if callable(heeded):  # as while workers are started, which puts it off
        heeded(number, frame)
    else:  # jobs of a shell's background ignore Ctrl-C
        raise KeyboardInterrupt


def never_mind_the_reader() -> None:
    """Let no terminal end a study: characters it lacks are spelt out, and it may have gone away."""
    _leave_none_closed()
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, _Unheard(stream))


def _leave_none_closed() -> None:
    """Open what a shell closed (`2>&-`), or the next file, such as a ledger, would be stderr."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


class _Unheard:
    """A stream of text that goes on where nobody reads it any more: behind `| head`, logged out."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, as far as somebody reads it, and return its length."""
        self._unless_gone(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Write what is held back."""
        self._unless_gone(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _unless_gone(self, do: Callable[..., Any], *arguments: str) -> None:
        try:
            do(*arguments)
        except OSError as error:
            if error.errno not in _NOBODY_READS:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
