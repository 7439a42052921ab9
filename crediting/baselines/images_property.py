"""What a contributor's training images are like by themselves, without any model."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crediting.baselines.aggregate import by_contributor
from crediting.baselines.reading import (
    ReadsFeatures,
    check_scores,
    improvement,
    measure_rows,
)
from crediting.baselines.settings import check_count
from crediting.interfaces import Material, Planned
from crediting.randomness import Stream


@dataclass(frozen=True)
class PropertyOfImages:
    """Each property of a contributor's own training images, as if a model had generated them.

    Properties such as FID depend on the number of images, so they are measured on equally many of
    everybody. Where a contributor has fewer, its images are repeated equally often but for the
    last round, which is a random choice, as it is where a contributor has more. Repetition spoils
    what compares images with each other, recall and KID, and the more so the more there is of it:
    for those, lower `images` to what everybody has.

    Args:
        images: how many of each contributor are measured.

    Raises:
        ConfigError: they are fewer than one.
    """

    images: int

    def __post_init__(self) -> None:
        check_count("images", self.images)

    def check(self, study: Planned) -> None:
        """Raise ConfigError if a property reads scores that training images do not have."""
        for name, measured in study.properties.items():
            if measured.needs == "scores":
                reader = study.readers[name]
                check_scores(study.extractors[reader], f"_target_: of {name}, {reader}")

    def scores(self, material: Material) -> dict[str, NDArray[np.float64]]:
        """Return the scores by property, (n,): values, turned around where lower is better."""
        drawn = [self._drawn(material, i) for i in range(material.n_contributors)]
        return {name: self._of_property(material, name, drawn) for name in material.properties}

    def _of_property(
        self, material: Material, name: str, drawn: list[Tensor]
    ) -> NDArray[np.float64]:
        features = material.features(material.reader(name), "training")
        values = (measure_rows(material, name, features, rows) for rows in drawn)
        return np.array([improvement(material, name, value) for value in values])

    def _drawn(self, material: Material, contributor: int) -> Tensor:
        """Return the numbers of the training images that stand for a contributor, (images,)."""
        own = torch.from_numpy(np.flatnonzero(material.contributors == contributor))
        stream = Stream("property_of_images", material.seed)
        shuffled = stream.choose(own, self.images)
        return shuffled[torch.arange(self.images) % len(shuffled)].to(material.device)


@dataclass(frozen=True)
class ScoreOfImages(ReadsFeatures):
    """Score that an extractor gives training images: the paper's aesthetic score of paintings.

    Arguments: see `ReadsFeatures`; the extractor must be named.
    """

    extractor: str

    reads: ClassVar[str] = "scores"

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the score of each contributor, (n,).

        Raises:
            ConfigError: the extractor gives no scores, or is not among the chosen ones.
        """
        return by_contributor(self.read(material, "training"), material, self.aggregate)
