"""A small stand-in for what a baseline may look at: see interfaces.Material."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crediting.errors import ConfigError
from crediting.interfaces import Features
from crediting.properties import FrechetDistance, InceptionScore, MeanScore

SHAPE = (1, 3, 4)


def random_images(count: int, seed: int) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(0, 256, size=(count, *SHAPE), dtype=np.uint8))


def pixel_features(images: Tensor) -> Features:
    """Return what the fake extractor gives: pixels, their sums by column, and their mean."""
    pixels = images.double() / 255
    columns = pixels.sum(dim=(1, 2))
    return Features(pixels.flatten(1), logits=4 * columns, scores=pixels.mean(dim=(1, 2, 3)))


def plain_properties() -> dict[str, Any]:
    return {
        "brightness": MeanScore(None),
        "inception_score": InceptionScore(None),
        "fid": FrechetDistance(None),
    }


@dataclass
class GivenMaterial:
    """Features are `pixel_features` of the images, under the name `pixels`, unless given."""

    training: Tensor
    generated: Tensor
    contributors: np.ndarray
    seed: int = 0
    properties: Mapping[str, Any] = field(default_factory=plain_properties)
    given: Mapping[tuple[str, str], Features] = field(default_factory=dict)
    captions: Tensor | None = None
    caption_of: Tensor | None = None
    embedded_prompts: Tensor | None = None
    device = torch.device("cpu")

    @property
    def n_contributors(self) -> int:
        return int(self.contributors.max()) + 1

    @property
    def generation(self) -> Any:
        return SimpleNamespace(images=len(self.generated))

    def training_images(self) -> Tensor:
        return self.training

    def generated_images(self) -> Tensor:
        return self.generated

    def features(self, extractor: str | None, which: str) -> Features:
        name = extractor or "pixels"
        if (name, which) in self.given:
            return self.given[name, which]
        if name != "pixels":
            raise ConfigError(f"extractor: {name} is not among the chosen ones")
        return pixel_features({"training": self.training, "generated": self.generated}[which])

    def reader(self, name: str) -> str:
        return self.properties[name].extractor or "pixels"

    def measure(self, name: str, features: Features) -> float:
        reference = pixel_features(random_images(40, seed=99))
        return float(self.properties[name].bind(reference)(features))

    def examples(self, which: str) -> Any:
        assert which == "training"
        return SimpleNamespace(captions=self.captions, caption_of=self.caption_of)

    def prompts(self) -> Tensor | None:
        return self.embedded_prompts


def random_material(sizes: tuple[int, ...] = (3, 6, 4), nobodys: int = 2) -> GivenMaterial:
    """Return images of contributors of these sizes, and some of nobody's, in random order."""
    owners = np.repeat(np.arange(-1, len(sizes)), [nobodys, *sizes])
    owners = np.random.default_rng(5).permutation(owners)
    return GivenMaterial(random_images(len(owners), 1), random_images(9, 2), owners)


def reordered(material: GivenMaterial, seed: int) -> GivenMaterial:
    """Return the same material with the training examples in another order."""
    order = np.random.default_rng(seed).permutation(len(material.contributors))
    rows = torch.from_numpy(order)
    return replace(
        material,
        training=material.training[rows],
        contributors=material.contributors[order],
        caption_of=None if material.caption_of is None else material.caption_of[rows],
    )
