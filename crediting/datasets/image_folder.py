"""Anybody's own images: a folder per contributor, or a table that says who made what."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crediting.assets import ByHand
from crediting.datasets.finding import (
    ENDINGS,
    file_problem,
    folder_at,
    held_out_images,
    images_below,
    unknown_picture,
)
from crediting.datasets.image_files import ImageFiles, Listing
from crediting.datasets.manifest import MANIFEST_ENDINGS, read_manifest
from crediting.datasets.problems import shown
from crediting.datasets.reading import Frame
from crediting.errors import ConfigError, DataError
from crediting.game.contributor import name_problem
from crediting.interfaces import Asset

Row = dict[str, str]
"""What is known of one image, by column; `path` is relative to the root."""


class ImageFolder(ImageFiles):
    """Images below a root, sorted by their path relative to it, compared as text.

    Columns: path, contributor, and whatever else the manifest has.

    Args:
        root: the folder. Without a manifest, every folder in it is a contributor, and all images
            at any depth below that are the contributor's.
        manifest: a table (CSV, JSON lines, Parquet) with the columns path (relative to the root)
            and contributor, optionally caption and label, and any others; only images in it count.
        size: what every image is brought to, height and width or one number, or None if all
            have the same size.
        channels: 3 or 1.
        resize: the filter, lanczos or bicubic.
        reference: a folder of held-out images; if all of them lie in folders of it, those are
            their labels. None: the training images, with the manifest's column label if there.
        allow_single: whether a contributor may have only one image.
    """

    def __init__(
        self,
        root: str,
        manifest: str | None,
        size: int | Sequence[int] | None,
        channels: int,
        resize: str,
        reference: str | None,
        allow_single: bool,
    ) -> None:
        super().__init__(Frame.of(size, channels, resize))
        if manifest is not None and Path(manifest).suffix.lower() not in MANIFEST_ENDINGS:
            raise ConfigError(
                f"dataset.manifest: expected a file ending in {', '.join(MANIFEST_ENDINGS)}, got "
                f"{manifest!r}"
            )
        self._root = folder_at(root)
        self._manifest = None if manifest is None else folder_at(manifest)
        self._reference = None if reference is None else folder_at(reference)
        self._allow_single = allow_single

    def assets(self) -> Mapping[str, Asset]:
        """Return the root, so that it is missed together with whatever else is not here."""
        return {"root": _Own("your images", "you", 0, "yours", "dataset.root", self._root, "", "")}

    def _listing(self) -> Listing:
        root = self.assets()["root"].find()
        return _survey(root, self._manifest, self._reference, self._allow_single)


class _Own(ByHand):
    """A folder that was never published."""

    def find(self) -> Path:
        """Return the folder.

        Raises:
            DataError: there is none.
        """
        if self.folder.is_dir():
            return self.folder
        raise DataError(
            f"{self.key}: there is no folder {shown(self.folder)}; name the one that holds the "
            f"images with {self.key}=<folder>"
        )


@cache
def _survey(
    root: Path, manifest: Path | None, reference: Path | None, allow_single: bool
) -> Listing:
    rows, problems = _of_folders(root) if manifest is None else _of_manifest(root, manifest)
    rows.sort(key=lambda row: row["path"])
    problems += _contributor_problems(rows, allow_single)
    held_out, more = held_out_images(reference)
    if manifest is None and reference is not None and reference.is_relative_to(root):
        more.append(
            f"dataset.reference: {shown(reference)} lies in dataset.root, where every folder is a "
            "contributor; move it out"
        )
    columns = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    return Listing(
        root,
        tuple(root / row["path"] for row in rows),
        columns,
        tuple(held_out),
        _labels(columns.get("label")) if reference is None else _folder_labels(held_out, reference),
        (*problems, *more),
        owners=columns.get("contributor"),
    )


def _of_folders(root: Path) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    problems: list[str] = []
    try:
        entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return [], [f"{shown(root)}: cannot be listed ({error.strerror})"]
    folders = [entry for entry in entries if entry.is_dir()]
    for folder in folders:
        files, wrong = images_below(folder, root)
        problems += wrong
        rows += [
            {"path": file.relative_to(root).as_posix(), "contributor": folder.name}
            for file in files
        ]
    problems += [
        f"{shown(entry)}: is a link to nothing; mend or remove it"
        for entry in entries
        if not entry.exists()
    ]
    problems += [
        f"{shown(entry)}: lies in no contributor's folder; move it into one, or use a manifest"
        for entry in entries
        if entry.is_file() and (entry.suffix.lower() in ENDINGS or unknown_picture(entry))
    ]
    if not folders and not problems:
        problems.append(f"{shown(root)}: there is no folder in it; expected one per contributor")
    return rows, problems


def _of_manifest(root: Path, manifest: Path) -> tuple[list[Row], list[str]]:
    lines, problems = read_manifest(manifest, ("path", "contributor"), filled=("caption", "label"))
    rows: list[Row] = []
    first: dict[str, str] = {}
    for where, cells in lines:
        path = posixpath.normpath(cells["path"])
        if path in first:
            problems.append(f"{where}: {shown(path)} is named by {first[path]} already")
        elif posixpath.isabs(path):
            problems.append(f"{where}: {shown(path)} is absolute; write it relative to the root")
        elif trouble := file_problem(root / path, root):
            problems.append(f"{where}: {shown(path)}: {trouble}")
        else:
            rows.append({**cells, "path": path})
        first.setdefault(path, where)
    return rows, problems


def _contributor_problems(rows: Sequence[Row], allow_single: bool) -> list[str]:
    images = Counter(row["contributor"] for row in rows)
    problems = [
        f"the name of the contributor '{shown(name)}' {trouble}; rename it"
        for name in sorted(images)
        if (trouble := name_problem(name))
    ]
    if not allow_single:
        problems += [
            f"{shown(row['path'])}: is the only image of {shown(row['contributor'])}; add another, "
            "or set dataset.allow_single=true if one is enough"
            for row in rows
            if images[row["contributor"]] == 1
        ]
    return problems


def _folder_labels(files: Sequence[Path], reference: Path) -> NDArray[np.int64] | None:
    folders = [file.relative_to(reference).parts[:-1] for file in files]
    return _labels(np.array([parts[0] for parts in folders])) if all(folders) else None


def _labels(names: NDArray | None) -> NDArray[np.int64] | None:
    """Return the position of each name among the sorted names, (n,)."""
    if names is None:
        return None
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
