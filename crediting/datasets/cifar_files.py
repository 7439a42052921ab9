"""The three files of CIFAR-100: checked against the published digests, then read."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.datasets.pickled import PickleRefusedError, arrays_and_containers
from crediting.errors import DataError

FILES = ("train", "test", "meta")
_SHAPE = (3, 32, 32)
_MOST_CLASSES = 100


class Labelled(NamedTuple):
    """Images, uint8 (n, 3, 32, 32), and their classes, int64 (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def content(file: Path, checksums: bool) -> bytes:
    """Return the bytes of one of the files, before anything in them is interpreted.

    Raises:
        DataError: it cannot be read or, with `checksums`, is not the published one.
    """
    try:
        found = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); unpack it anew") from error
    md5 = hashlib.md5(found, usedforsecurity=False).hexdigest()
    if checksums and md5 != _published()[file.name]:
        raise DataError(
            f"{file}: expected the published file, md5 {_published()[file.name]}, got {md5}; fetch "
            "it anew, or set dataset.checksums=false if it is meant to be another"
        )
    return found


@cache
def labelled(file: Path, checksums: bool) -> Labelled:
    """Return what `train` or `test` holds, in its order; raises DataError if it is damaged."""
    held = _unpickled(file, checksums)
    pixels, labels = held.get("data"), held.get("fine_labels")
    if not isinstance(labels, list) or not all(
        type(n) is int and 0 <= n < _MOST_CLASSES for n in labels
    ):
        raise DataError(
            f"{file}: expected `fine_labels`, a list of integers from 0 to {_MOST_CLASSES - 1}"
        )
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise DataError(f"{file}: expected `data`, an array of uint8")
    if pixels.shape != (len(labels), int(np.prod(_SHAPE))):
        raise DataError(
            f"{file}: expected 3072 values for each of the {len(labels)} labels, got an array of "
            f"shape {pixels.shape}"
        )
    return Labelled(pixels.reshape(-1, *_SHAPE), np.array(labels, dtype=np.int64))


@cache
def class_names(file: Path, checksums: bool) -> tuple[str, ...]:
    """Return the names of the fine labels, from `meta`; raises DataError if it is damaged."""
    names = _unpickled(file, checksums).get("fine_label_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{file}: expected `fine_label_names`, a list of text")
    return tuple(names)


def _unpickled(file: Path, checksums: bool) -> dict[str, Any]:
    try:
        held = arrays_and_containers(content(file, checksums))
    except PickleRefusedError as error:
        raise DataError(f"{file}: not read, because {error}") from error
    if not isinstance(held, dict):
        raise DataError(f"{file}: expected a mapping, as CIFAR-100's files hold")
    return held


@cache
def _published() -> dict[str, str]:
    """Return the md5 of each file, as torchvision publishes them."""
    from torchvision.datasets import CIFAR100

    listed = dict([*CIFAR100.train_list, *CIFAR100.test_list])
    return {**listed, CIFAR100.meta["filename"]: CIFAR100.meta["md5"]}
