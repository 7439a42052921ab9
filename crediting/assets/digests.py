"""The sha256 of files and folders, wherever they lie."""

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path


def file_digest(path: Path) -> str:
    """Return the sha256 of a file; read once per process as long as the file is not touched."""
    status = path.stat()
    return _file_digest(path.resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(files: Mapping[str, Path]) -> str:
    """Return the sha256 over names and contents of files, whatever their order."""
    sha = hashlib.sha256()
    for name in sorted(files):
        sha.update(f"{name}\0{file_digest(files[name])}\n".encode())
    return sha.hexdigest()


def files_below(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their relative name; links are followed.

    Hidden files and folders are left out: they are the notes of tools such as git, not content. So
    are links to a folder that they lie in, which would never end.
    """
    found = {}
    within: dict[Path, frozenset[str]] = {}  # by folder: where those that it lies in really are
    for root, folders, names in os.walk(folder, followlinks=True):
        above = within.pop(Path(root), frozenset()) | {os.path.realpath(root)}
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(root, name)) not in above
        ]
        within |= {Path(root, name): above for name in folders}
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                found[path.relative_to(folder).as_posix()] = path
    return found
