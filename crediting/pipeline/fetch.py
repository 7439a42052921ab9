"""What the parts of a study need from outside: told before work starts, fetched on demand."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crediting.assets import assets_of
from crediting.assets.messages import NotFetchedError, human_size
from crediting.errors import DataError
from crediting.interfaces import Asset
from crediting.progress import say

Sought = tuple[Asset, DataError | None]
"""What is needed, and the problem of finding it, or None if it is here."""


def require(parts: Mapping[str, Any], command: str, made_by: str | None = None) -> None:
    """Return if everything that the parts need is here; the network is not touched.

    `parts` are single parts or mappings of them; `command` fetches what can be fetched, unless
    `made_by` is the command that writes what `+size=miniature` names.

    Raises:
        DataError: something is not here; one message for all, with a command if one helps.
        ConfigError: a part cannot say what it needs.
    """
    sought = _sought(parts)
    missing = [problem for _, problem in sought if problem is not None]
    if missing:
        advice = f"\nFetch what can be fetched with\n  {command}" if _to_fetch(sought) else ""
        if made_by:
            advice = (
                "\nThose that +size=miniature names are made, in a copy of the repository, by\n"
                f"  {made_by}"
            )
        raise DataError(f"These files are missing:{_bullets(missing)}{advice}")


def fetch(parts: Mapping[str, Any], dry_run: bool) -> None:
    """Fetch what the parts need and do not find, one by one, after a table of everything.

    A dry run ends with the table.

    Raises:
        DataError: the disk is too full to begin, or something could not be fetched; what was
            fetched stays.
        ConfigError: a part cannot say what it needs.
    """
    sought = _sought(parts)
    if not sought:
        say("The parts of this study need nothing from outside.")
        return
    _print_table(sought)
    missing = [(asset, problem) for asset, problem in sought if problem is not None]
    if not missing:
        say("Everything is here; there is nothing to fetch.")
        return
    if dry_run:
        say("Nothing is fetched, as dry_run=true.")
        return
    _check_space(_to_fetch(sought))
    failures = []
    for asset, problem in missing:
        try:
            if isinstance(problem, NotFetchedError):
                say(f"Fetching {asset.what} ...")
            say(f"{asset.what}: {asset.fetch()}")
        except DataError as error:
            failures.append(error)
    if failures:
        raise DataError(
            f"{len(failures)} of {len(missing)} missing things could not be fetched; what was "
            f"fetched stays:{_bullets(failures)}"
        )


def _sought(parts: Mapping[str, Any]) -> list[Sought]:
    """Return everything needed, once each."""
    sought: list[Sought] = []
    for asset in _needed(parts):
        if any(asset == other for other, _ in sought):
            continue
        try:
            asset.find()
            sought.append((asset, None))
        except DataError as problem:
            sought.append((asset, problem))
    return sought


def _needed(parts: Mapping[str, Any]) -> Iterator[Asset]:
    for part in parts.values():
        if isinstance(part, Mapping):
            yield from _needed(part)
        else:
            yield from assets_of(part).values()


def _to_fetch(sought: list[Sought]) -> list[Asset]:
    return [asset for asset, problem in sought if isinstance(problem, NotFetchedError)]


def _bullets(problems: list[DataError]) -> str:
    return "".join(f"\n- {problem}" for problem in problems)


def _print_table(sought: list[Sought]) -> None:
    """Print one line for each thing, and what is to be fetched in all."""
    rows = [("what", "size", "licence", "state", "source")]
    rows += [
        (asset.what, _size(asset), asset.licence, _state(problem), asset.source)
        for asset, problem in sought
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())
    to_fetch = _to_fetch(sought)
    if to_fetch:
        more = "" if all(asset.size for asset in to_fetch) else ", and what is of unknown size"
        say(f"To fetch: {human_size(sum(asset.size for asset in to_fetch))}{more}.")
    for place, _, free in _places(to_fetch):
        say(f"Free at {place}: {human_size(free)}.")


def _size(asset: Asset) -> str:
    return human_size(asset.size) if asset.size else "unknown"


def _state(problem: DataError | None) -> str:
    if problem is None:
        return "here"
    return "to fetch" if isinstance(problem, NotFetchedError) else "missing"


def _check_space(to_fetch: list[Asset]) -> None:
    """Raise DataError if a disk has clearly too little space for what is to be fetched."""
    full = [
        f"{human_size(size)} are to be fetched to {place}, where {human_size(free)} are free"
        for place, size, free in _places(to_fetch)
        if size > free
    ]
    if full:
        raise DataError(
            f"There is too little disk space: {'; '.join(full)}. Free some, or choose other "
            "places: HF_HOME and TORCH_HOME in the environment name the caches, and the config "
            "key of a data set names its folder."
        )


def _places(to_fetch: list[Asset]) -> list[tuple[Path, int, int]]:
    """Return by disk: a folder on it, bytes to fetch to it, bytes free; untold places are not."""
    places: dict[int, tuple[Path, int, int]] = {}
    for asset in to_fetch:
        destination: Path | None = getattr(asset, "destination", None)
        if destination is None:
            continue
        folder = _existing(destination)
        disk = folder.stat().st_dev
        place, size, _ = places.get(disk, (folder, 0, 0))
        places[disk] = (place, size + asset.size, shutil.disk_usage(folder).free)
    return list(places.values())


def _existing(path: Path) -> Path:
    """Return a path if it is a folder, else the nearest folder above it."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
