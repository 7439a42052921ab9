"""CelebA-HQ by identity: photographs of celebrities, who are the contributors."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crediting.assets import ByHand
from crediting.datasets.finding import file_problem, folder_at, held_out_images, images_below
from crediting.datasets.image_files import ImageFiles, Listing
from crediting.datasets.manifest import read_manifest
from crediting.datasets.problems import nearest, shown
from crediting.datasets.reading import Frame
from crediting.errors import ConfigError
from crediting.interfaces import Asset

_RESIZED = "celeba_hq_256_50_resized"
_SOURCE = "CelebA_HQ_facial_identity_dataset"


class _Photograph(NamedTuple):
    name: str
    celebrity: str
    file: Path


class CelebaHQ(ImageFiles):
    """The photographs of some celebrities, sorted by `<celebrity>_<id>.jpg`.

    Columns: contributor (the number of the celebrity), file.

    Read is `<root>/celeba_hq_256_50_resized`, in which labels.csv (filename, celeb, split) says
    who is on which file, or else the folder as it is published,
    `<root>/CelebA_HQ_facial_identity_dataset/{train,test}/<celebrity>/<id>.jpg`. Both splits are
    trained on, as in the paper.

    Args:
        root: the folder that holds either of them.
        celebrities: their numbers.
        size: what every image is brought to, height and width or one number.
        reference: a folder of images, or None for the training images.
    """

    def __init__(
        self,
        root: str,
        celebrities: Sequence[int],
        size: int | Sequence[int] | None,
        reference: str | None,
    ) -> None:
        super().__init__(Frame.of(size, channels=3, resize="lanczos"))
        names = tuple(str(celebrity) for celebrity in celebrities)
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"dataset.celebrities: expected different numbers of celebrities, got {[*names]}"
            )
        self._root = folder_at(root)
        self._celebrities = names
        self._reference = None if reference is None else folder_at(reference)

    def assets(self) -> Mapping[str, Asset]:
        """Return the published folder, or the resized one where that is there, under `root`."""
        resized = (self._root / _RESIZED).is_dir()
        folder = ByHand(
            what="the data set CelebA-HQ by facial identity",
            source="https://github.com/ndb796/LatentHSJA",
            size=527_000_000,
            licence="non-commercial research and education only, as CelebAMask-HQ",
            key="dataset.root",
            folder=self._root,
            member=_RESIZED if resized else _SOURCE,
            instructions=f"Unpack the zip so that {self._root / _SOURCE / 'train'} is there.",
        )
        return {"root": folder}

    def _listing(self) -> Listing:
        return _photographs(self.assets()["root"].find(), self._celebrities, self._reference)


@cache
def _photographs(root: Path, celebrities: tuple[str, ...], reference: Path | None) -> Listing:
    resized = (root / _RESIZED).is_dir()
    everybody, problems = _resized(root / _RESIZED) if resized else _published(root / _SOURCE)
    known = {photograph.celebrity for photograph in everybody}
    problems += [
        f"dataset.celebrities: there is no photograph of {name} in {root}; {nearest(name, known)}"
        for name in celebrities
        if name not in known
    ]
    ours = sorted((p for p in everybody if p.celebrity in celebrities), key=lambda p: p.name)
    unusable = {p: trouble for p in ours if (trouble := file_problem(p.file, root))}
    problems += [f"{shown(p.file)}: {trouble}" for p, trouble in unusable.items()]
    problems += [
        f"{shown(p.file)}: is there twice, as {shown(before.file)} too"
        for before, p in pairwise(ours)
        if before.name == p.name
    ]
    ours = [p for p in ours if p not in unusable]
    held_out, more = held_out_images(reference)
    columns = {
        "contributor": np.array([p.celebrity for p in ours]),
        "file": np.array([p.name for p in ours]),
    }
    return Listing(
        root, tuple(p.file for p in ours), columns, tuple(held_out), problems=(*problems, *more)
    )


def _resized(folder: Path) -> tuple[list[_Photograph], list[str]]:
    """Return what labels.csv lists: it says who is on a file, whatever the order of either."""
    lines, problems = read_manifest(folder / "labels.csv", ("filename", "celeb"), filled=())
    found = []
    for where, cells in lines:
        name, celebrity = cells["filename"], cells["celeb"]
        if name.partition("_")[0] != celebrity:
            problems.append(f"{where}: {shown(name)} should begin with {shown(celebrity)}_")
        found.append(_Photograph(name, celebrity, folder / name))
    return found, problems


def _published(folder: Path) -> tuple[list[_Photograph], list[str]]:
    """Return the photographs of both splits, under the names that they bear when resized."""
    files, problems = [], []
    for split in ("train", "test"):
        found, wrong = images_below(folder / split, folder)
        files += found
        problems += wrong
    return [
        _Photograph(f"{file.parent.name}_{file.stem}.jpg", file.parent.name, file) for file in files
    ], problems
