"""Files that others see whole or not at all, whatever ends who writes them; and locks."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from crediting.errors import CreditingError


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a file's lock, waiting for whoever holds it; it is released when the process dies.

    Raises:
        CreditingError: the file system knows no locks, as some that clusters share.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise CreditingError(
                f"{path}: its file system cannot lock files ({error.strerror}), without which two "
                "processes might write one result; choose a folder on another one with "
                "paths.outputs=<folder>, or have it mounted with locks (for Lustre: -o flock)"
            ) from error
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do if a child inherited the file


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader, or a crash, sees the old file or the new one whole."""
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write bytes so that a reader, or a crash, sees the old file or the new one whole."""
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        replace_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Return an unused path in the same folder, marked as work in progress."""
    return path.with_name(f".{path.name}.partial-{uuid4().hex}")


def replace_durably(source: Path, target: Path) -> None:
    """Move a file onto another of the same folder, and make the move survive a power cut."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
