"""The files of a study: their folder, what they may be called after, and tables among them."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from crediting.errors import ConfigError, as_user_error
from crediting.files import atomic_write_text
from crediting.reporting.grid import Grid, grid_csv, grid_latex, grid_markdown

LONGEST = 200
"""Bytes; file systems allow 255, of which some are added."""

_FORMATS = {"md": grid_markdown, "tex": grid_latex, "csv": grid_csv}
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


def with_ending(stem: Path, ending: str) -> Path:
    """Return a path with an ending more; names of properties may hold dots."""
    return stem.with_name(f"{stem.name}.{ending}")


def write_grid(grid: Grid, stem: Path, endings: Sequence[str]) -> str:
    """Write a table in formats, each by the ending of its file, and return it as Markdown."""
    for ending in endings:
        atomic_write_text(with_ending(stem, ending), _FORMATS[ending](grid))
    return grid_markdown(grid)


def remove_earlier(folder: Path, of_all: Collection[str], of_a_property: Collection[str]) -> None:
    """Remove the tables and figures of an earlier command, which may have had other properties.

    They are called as `of_all` says, or after a property: <one of `of_a_property`>_<property>.
    """
    for path in folder.iterdir():
        ours = path.stem in of_all or path.stem.partition("_")[0] in of_a_property
        if ours and path.suffix in _ENDINGS:
            path.unlink()
