"""What datasets give and partitions deal out, which may be anybody's, checked on its first use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError
from crediting.game.contributor import Partition
from crediting.interfaces import Dataset, Partitioner

if TYPE_CHECKING:
    import torch


def contributors(partitioner: Partitioner, dataset: Dataset) -> Partition:
    """Return the contributors of the training examples of a dataset.

    Raises:
        ConfigError: the dataset has no columns of one length, or the partition is none of them.
        DataError: as `Partition`.
    """
    columns = dataset.columns()
    if not isinstance(columns, Mapping) or not columns:
        raise ConfigError(
            f"dataset: expected columns() to return arrays by name, got {_what(columns)}"
        )
    lengths = set()
    for name, values in columns.items():
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            raise ConfigError(
                f"dataset: expected the column {name!r} as a numpy array with a value for each "
                f"training image, got {_what(values)}"
            )
        lengths.add(len(values))
    partition = partitioner.partition(columns)
    if not isinstance(partition, Partition):
        raise ConfigError(
            "partition: expected partition() to return a crediting.game.contributor.Partition, "
            f"got {_what(partition)}"
        )
    if lengths != {partition.n_examples}:
        raise ConfigError(
            f"dataset: expected columns of {partition.n_examples} training images, as many as the "
            f"partition deals out, got columns of {', '.join(map(str, sorted(lengths)))}"
        )
    return partition


def digest_of(dataset: Dataset) -> str:
    """Return the digest of a dataset, by which what was made of it is found again.

    Raises:
        ConfigError: it is no text, and other data would be taken for the same.
    """
    digest = dataset.digest()
    if not isinstance(digest, str) or not digest:
        raise ConfigError(
            "dataset: expected digest() to return a text that changes whenever the data do, got "
            f"{digest!r}"
        )
    return digest


def training_images(dataset: Dataset, count: int) -> torch.Tensor:
    """Return the training images, uint8 (count, C, H, W).

    Raises:
        ConfigError: they are something else, or not so many.
    """
    images = _images("training_images", dataset.training_images())
    if len(images) != count:
        raise ConfigError(
            f"dataset: training_images() has {len(images)} images, and columns() tells of {count}"
        )
    return images


def reference(dataset: Dataset) -> tuple[torch.Tensor, NDArray[np.int64] | None]:
    """Return the reference images, uint8 (M, C, H, W), and their classes, (M,), or None.

    Raises:
        ConfigError: they are something else.
    """
    images = _images("reference_images", dataset.reference_images())
    labels = dataset.reference_labels()
    if labels is None:
        return images, None
    classes = np.asarray(labels)
    if classes.shape != (len(images),) or classes.dtype.kind not in "iu":
        raise ConfigError(
            f"dataset: expected reference_labels() to return a whole number for each of the "
            f"{len(images)} reference images, or None, got {_what(classes)}"
        )
    return images, classes.astype(np.int64)


def _images(method: str, images: Any) -> torch.Tensor:
    if str(getattr(images, "dtype", "")) == "torch.uint8" and images.ndim == 4:
        return images  # type: ignore[no-any-return]
    raise ConfigError(
        f"dataset: expected {method}() to return a torch.Tensor of uint8, (images, channels, "
        f"height, width), with pixels of 0 to 255, got {_what(images)}"
    )


def _what(found: Any) -> str:
    """Say what something is that should have been something else."""
    kind = type(found).__name__
    if not hasattr(found, "dtype"):
        return kind
    return f"{kind} of {str(found.dtype).removeprefix('torch.')}, shape {tuple(found.shape)}"
