"""The folder of a study, and names that its files may be called after: shapley_<property>.csv."""

import os
from collections.abc import Collection
from pathlib import Path

from crediting.errors import ConfigError, as_user_error

LONGEST = 200
"""Bytes; file systems allow 255, of which some are added."""

_ENDINGS = (".csv", ".md", ".tex", ".png")


def can_name_files(name: str) -> bool:
    """Return whether a name can be a part of the name of a file."""
    return Path(name).name == name and len(name.encode()) <= LONGEST


def obstacle(folder: Path) -> Path | None:
    """Return what will keep the folder of a study from being made or written to, if anything."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return None if there.is_dir() and os.access(there, os.W_OK) else there


def make_folder(folder: Path) -> None:
    """Make the folder of a study, unless it is there.

    Raises:
        ConfigError: that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if as_user_error(error) is not None:
            raise
        raise ConfigError(
            f"name, paths.outputs: the folder {folder} cannot be made ({error.strerror}); "
            "choose others"
        ) from error


def remove_earlier(folder: Path, of_all: Collection[str], of_a_property: Collection[str]) -> None:
    """Remove the tables and figures of an earlier command, which may have had other properties.

    They are called as `of_all` says, or after a property: <one of `of_a_property`>_<property>.
    """
    for path in folder.iterdir():
        ours = path.stem in of_all or path.stem.partition("_")[0] in of_a_property
        if ours and path.suffix in _ENDINGS:
            path.unlink()
