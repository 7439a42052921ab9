"""ArtBench-10: 60,000 paintings in ten styles; the painters are the contributors."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from crediting.assets import UrlArchive
from crediting.datasets.finding import folder_at, held_out_images, images_below
from crediting.datasets.image_files import ImageFiles, Listing
from crediting.datasets.problems import nearest, shown
from crediting.datasets.reading import Frame
from crediting.errors import ConfigError
from crediting.interfaces import Asset

_FOLDER = "artbench-10-imagefolder-split"


class ArtBench(ImageFiles):
    """The paintings of one style, sorted by file name, which begins with the artist.

    Columns: contributor (the artist), caption, style, file.

    Source: Liao et al., The ArtBench Dataset, 2022; the paper.

    Args:
        root: the folder that holds `artbench-10-imagefolder-split/{train,test}/<style>`.
        style: the name of a folder there.
        caption: the text that goes with every image.
        size: what every image is brought to, height and width or one number.
        reference: a folder of held-out images, or None for the same style of the test split.
    """

    def __init__(
        self,
        root: str,
        style: str,
        caption: str,
        size: int | Sequence[int] | None,
        reference: str | None,
    ) -> None:
        super().__init__(Frame.of(size, channels=3, resize="lanczos"))
        self._root = folder_at(root)
        self._style = style
        self._caption = caption
        self._reference = None if reference is None else folder_at(reference)

    def assets(self) -> Mapping[str, Asset]:
        """Return the published archive, under `root`."""
        archive = UrlArchive(
            what="the data set ArtBench-10",
            url=f"https://artbench.eecs.berkeley.edu/files/{_FOLDER}.tar",
            md5=None,  # none is published
            size=2_000_000_000,
            licence="fair use of the images, the rest MIT",
            key="dataset.root",
            folder=self._root,
            member=_FOLDER,
        )
        return {"root": archive}

    def _listing(self) -> Listing:
        split = self.assets()["root"].find() / _FOLDER
        return _paintings(split, self._style, self._caption, self._reference)


@cache
def _paintings(split: Path, style: str, caption: str, reference: Path | None) -> Listing:
    folder = split / "train" / style
    styles = [entry.name for entry in (split / "train").glob("*") if entry.is_dir()]
    if style not in styles:
        raise ConfigError(
            f"dataset.style: there is no style {style!r} in {split / 'train'}; "
            f"{nearest(style, styles)}"
        )
    paintings, problems = images_below(folder, split)
    held_out, more = held_out_images(reference or split / "test" / style)
    problems += more + [
        f"{shown(file)}: expected <artist>_<title>.jpg, and there is no artist in front of a _"
        for file in paintings
        if file.stem.find("_") < 1
    ]
    columns = {
        "contributor": np.array([file.name.partition("_")[0] for file in paintings]),
        "caption": np.array([caption] * len(paintings)),
        "style": np.array([style] * len(paintings)),
        "file": np.array([file.name for file in paintings]),
    }
    return Listing(folder, tuple(paintings), columns, tuple(held_out), problems=tuple(problems))
