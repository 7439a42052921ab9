"""What datasets of image files have in common: listed first, decoded once, checked as a whole."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crediting.datasets.problems import refuse, shown
from crediting.datasets.reading import Frame, UnreadableError, read_image
from crediting.errors import DataError, first_of
from crediting.progress import bar

_BESIDE_OTHERS = 1000
"""Images that are decoded to tell of them beside what is known to be wrong without: seconds."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of a dataset in its order, and what is known of them before any is decoded.

    Args:
        root: the folder, for messages.
        training: the training images.
        columns: arrays (n_training,).
        reference: the held-out images; none if the training images serve as reference.
        reference_labels: int64 (n_reference,), or None.
        problems: whatever is wrong so far, a line each.
        owners: whose the training images are, (n_training,), where no two may own the same one.
    """

    root: Path
    training: tuple[Path, ...]
    columns: Mapping[str, NDArray]
    reference: tuple[Path, ...]
    reference_labels: NDArray[np.int64] | None = None
    problems: tuple[str, ...] = ()
    owners: NDArray | None = None


class ImageFiles(ABC):
    """A dataset of image files: what it lists is what it gives.

    All problems are reported together before any image is handed out. Files are listed and decoded
    once per process, and the images shared by all who ask: they are not to be changed. Where files
    have another digest than before, they are decoded anew.

    Args:
        frame: what every image is brought to.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._digest: str | None = None

    @abstractmethod
    def _listing(self) -> Listing:
        """Return the listing, the same object whenever the same files are meant."""

    def digest(self) -> str:
        """Return the sha256 of the files' content, the columns and the form of the images."""
        self._digest = _digest(self._sound(), self._frame)
        return self._digest

    def columns(self) -> Mapping[str, NDArray]:
        """Return what is known of each training image: name -> array (n_examples,), text."""
        return {name: values.copy() for name, values in self._sound().columns.items()}

    def training_images(self) -> torch.Tensor:
        """Return the training images, uint8 (n_examples, channels, height, width)."""
        return _decoded(self._listing(), self._frame, self._digest)[0]

    def reference_images(self) -> torch.Tensor:
        """Return the reference images, uint8 (n_reference, channels, height, width)."""
        return _decoded(self._listing(), self._frame, self._digest)[1]

    def reference_labels(self) -> NDArray[np.int64] | None:
        """Return the class of each reference image, (n_reference,), or None if unknown."""
        labels = self._sound().reference_labels
        return None if labels is None else labels.copy()

    def _sound(self) -> Listing:
        listing = self._listing()
        if listing.problems:
            _decoded(listing, self._frame, None)  # raises, with the problems of the images beside
        return listing


def _digest(listing: Listing, frame: Frame) -> str:
    labels = listing.reference_labels
    told = {
        "frame": astuple(frame),
        "columns": {name: values.tolist() for name, values in listing.columns.items()},
        "labels": None if labels is None else labels.tolist(),
        "files": [len(listing.training), len(listing.reference)],
    }
    sha = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    problems = []
    for file in (*listing.training, *listing.reference):
        try:
            with file.open("rb") as stream:
                sha.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            problems.append(f"{shown(file)}: cannot be read ({error.strerror})")
    refuse(listing.root, problems)
    return sha.hexdigest()


@cache
def _decoded(
    listing: Listing, frame: Frame, digest: str | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return training and reference images, parts of one tensor.

    Raises:
        DataError: naming every file that cannot be used; where the listing is wrong already, of
            the first 1,000. Or the files no longer have the digest.
    """
    files = (*listing.training, *listing.reference)
    looked_into = files[:_BESIDE_OTHERS] if listing.problems else files
    problems = list(listing.problems)
    images = np.empty(0, dtype=np.uint8)
    by_size: dict[tuple[int, ...], list[str]] = defaultdict(list)
    by_content: dict[bytes, list[int]] = defaultdict(list)
    with bar("images", len(looked_into), "image", delay=2) as progress:
        for index, file in enumerate(looked_into):
            progress.update()
            try:
                pixels = read_image(file, frame)
            except UnreadableError as error:
                problems.append(f"{shown(file)}: {error}")
                continue
            if not by_size:
                images = np.empty((len(files), *pixels.shape), dtype=np.uint8)
            by_size[pixels.shape[1:]].append(shown(file))
            if pixels.shape == images.shape[1:]:
                images[index] = pixels
            if index < len(listing.training):
                content = np.ascontiguousarray(pixels).tobytes() + str(pixels.shape).encode()
                by_content[hashlib.sha256(content).digest()].append(index)
    if len(looked_into) < len(files):
        problems.append(
            f"only {len(looked_into):,} of {len(files):,} images were looked into, as the above "
            "is wrong already"
        )
    problems += _several_sizes(by_size) + _owned_twice(listing, by_content.values())
    refuse(listing.root, problems)
    if digest not in (None, _digest(listing, frame)):
        raise DataError(
            f"dataset: images in {listing.root} were changed while the study ran; run the same "
            "command again, and it takes them as they are then"
        )
    tensor, split = torch.from_numpy(images), len(listing.training)
    return tensor[:split], tensor[split:] if listing.reference else tensor


def _several_sizes(by_size: Mapping[tuple[int, ...], Sequence[str]]) -> list[str]:
    if len(by_size) < 2:
        return []
    found = ", ".join(
        f"{height}x{width} ({len(names)} files, for instance {names[0]})"
        for (height, width), names in sorted(by_size.items(), key=lambda item: -len(item[1]))[:5]
    )
    return [
        f"the images have {len(by_size)} sizes, height x width: {found}; set "
        "dataset.size=<pixels> to bring all to one"
    ]


def _owned_twice(listing: Listing, alike: Iterable[Sequence[int]]) -> list[str]:
    """Return a problem for every image, equal in all pixels, that two contributors own."""
    if listing.owners is None:
        return []
    return [
        first_of([f"{shown(listing.training[i])} ({shown(listing.owners[i])})" for i in group], 20)
        + ": these are the same image, and two contributors cannot own it; leave it to one"
        for group in alike
        if len({listing.owners[i] for i in group}) > 1
    ]
