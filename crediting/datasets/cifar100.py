"""CIFAR-100: 60,000 colour images of 32x32 pixels in 100 classes, each of them a contributor."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crediting.assets import UrlArchive
from crediting.datasets.cifar_files import FILES, Labelled, class_names, content, labelled
from crediting.datasets.finding import folder_at
from crediting.datasets.problems import nearest
from crediting.errors import ConfigError, DataError
from crediting.interfaces import Asset

_FOLDER = "cifar-100-python"


class Cifar100:
    """The images of some classes, in the order of the published files.

    Trained on is the published training set; the reference is the test set.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; 20 classes make
    the CIFAR-20 of the paper.

    Args:
        root: the folder that holds `cifar-100-python/{train,test,meta}`.
        classes: names of fine labels, in any order, or None for all 100.
        checksums: whether the files must be the published ones.
    """

    def __init__(self, root: str, classes: Sequence[str] | None, checksums: bool) -> None:
        names = [] if classes is None else [str(name) for name in classes]
        if classes is not None and not names:
            raise ConfigError("dataset.classes: expected names of classes, or null for all; got []")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"dataset.classes: expected every class once, got twice: {twice}")
        self._root = folder_at(root)
        self._classes = tuple(names)
        self._checksums = checksums

    def assets(self) -> Mapping[str, Asset]:
        """Return the published archive, under `root`."""
        from torchvision.datasets import CIFAR100

        archive = UrlArchive(
            what="the data set CIFAR-100",
            url=CIFAR100.url,
            md5=CIFAR100.tgz_md5,
            size=169_001_437,
            licence="none stated",
            key="dataset.root",
            folder=self._root,
            member=_FOLDER,
        )
        return {"root": archive}

    def digest(self) -> str:
        """Return the sha256 of the published files and the chosen classes; reads all of them."""
        for part in ("train", "test"):
            self._part(part)  # whatever is wrong is told before any work, not when it is needed
        sha = hashlib.sha256(json.dumps(self._chosen()).encode())
        for name in FILES:
            sha.update(hashlib.sha256(content(self._file(name), self._checksums)).digest())
        return sha.hexdigest()

    def columns(self) -> Mapping[str, NDArray]:
        """Return the columns `contributor` and `label`, both the name of the class."""
        names = np.array(self._chosen())[self._part("train").labels]
        return {"contributor": names, "label": names.copy()}

    def training_images(self) -> torch.Tensor:
        """Return the training images of the classes, uint8 (n_examples, 3, 32, 32)."""
        return torch.from_numpy(self._part("train").images)

    def reference_images(self) -> torch.Tensor:
        """Return the test images of the classes, uint8 (n_reference, 3, 32, 32)."""
        return torch.from_numpy(self._part("test").images)

    def reference_labels(self) -> NDArray[np.int64]:
        """Return the class of each test image, counted in alphabetical order, (n_reference,)."""
        return self._part("test").labels

    def _part(self, part: str) -> Labelled:
        """Return the chosen classes of train or test, as fresh arrays, labels from 0."""
        known, chosen, file = self._known(), self._chosen(), self._file(part)
        images, labels = labelled(file, self._checksums)
        if labels.max(initial=0) >= len(known):
            raise DataError(f"{file}: expected labels below {len(known)}, got {labels.max()}")
        position = np.full(len(known), -1)
        position[[known.index(name) for name in chosen]] = np.arange(len(chosen))
        ours = position[labels] >= 0
        return Labelled(images[ours], position[labels[ours]])

    def _chosen(self) -> list[str]:
        known = self._known()
        for name in self._classes:
            if name not in known:
                raise ConfigError(
                    f"dataset.classes: there is no class {name!r}; {nearest(name, known)}"
                )
        return sorted(self._classes or known)

    def _known(self) -> tuple[str, ...]:
        return class_names(self._file("meta"), self._checksums)

    def _file(self, name: str) -> Path:
        return self.assets()["root"].find() / _FOLDER / name
