"""How `credit` ends: one message and an exit code, and a traceback for who wants it."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from crediting.errors import CreditingError

_FULL_ERROR = "HYDRA_FULL_ERROR"
_NOT_BY_THE_USER = "CREDIT_HYDRA_RAISES"


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
