"""Real handwriting that ships with scikit-learn: 1,797 grey images of 8x8 pixels, 10 classes."""

import hashlib
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from crediting.errors import ConfigError

_AVAILABLE = 1797


class Digits:
    """The first images are trained on, the rest is held out as reference.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998; the order of
    the file is kept, in which the last images are by other writers than most of the first.

    Args:
        train: how many of the 1,797 images to train on, counted from the first.
    """

    def __init__(self, train: int) -> None:
        if not 0 < train < _AVAILABLE:
            raise ConfigError(
                f"dataset.train: expected between 1 and {_AVAILABLE - 1} images (the rest is the "
                f"reference), got {train}"
            )
        self._train = train

    def digest(self) -> str:
        """Return the sha256 of all pixels, labels and the split."""
        images, labels = _load()
        sha = hashlib.sha256(f"digits {self._train}".encode())
        sha.update(images.tobytes())
        sha.update(labels.tobytes())
        return sha.hexdigest()

    def columns(self) -> Mapping[str, NDArray]:
        """Return the column `label`: digit_0 ... digit_9."""
        return {"label": np.array([f"digit_{label}" for label in _load()[1][: self._train]])}

    def training_images(self) -> torch.Tensor:
        """Return the training images, uint8 (train, 1, 8, 8)."""
        return torch.from_numpy(_load()[0][: self._train].copy())

    def reference_images(self) -> torch.Tensor:
        """Return the held-out images, uint8 (1797 - train, 1, 8, 8)."""
        return torch.from_numpy(_load()[0][self._train :].copy())

    def reference_labels(self) -> NDArray[np.int64]:
        """Return the digit of each held-out image, (1797 - train,)."""
        return _load()[1][self._train :].copy()


@cache
def _load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images, uint8 (1797, 1, 8, 8), and labels; 17 grey levels stretched to 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return images, digits.target.astype(np.int64)
