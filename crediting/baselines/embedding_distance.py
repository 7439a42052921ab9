"""How unusual training images are: the paper's baseline for the diversity of faces."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crediting.baselines.aggregate import by_contributor, check_aggregate
from crediting.baselines.reading import check_gives, read
from crediting.interfaces import Material, Planned


@dataclass(frozen=True)
class EmbeddingDistance:
    """Distance of a training image's embedding to the mean embedding of the contributors' images.

    Args:
        extractor: whose embeddings are read, or null for the first chosen one that gives any; the
            paper's is blip_vqa.
        aggregate: mean, max or sum over a contributor's training images.

    Raises:
        ConfigError: there is no such aggregate.
    """

    extractor: str | None
    aggregate: str

    def __post_init__(self) -> None:
        check_aggregate(self.aggregate)

    def check(self, study: Planned) -> None:
        """Raise ConfigError if the extractor gives no embeddings."""
        check_gives(study, self.extractor, "embeddings")

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the distance of each contributor, (n,).

        Raises:
            ConfigError: there are no such embeddings.
        """
        embeddings = read(material, self.extractor, "training", "embeddings")
        owned = torch.from_numpy(material.contributors >= 0).to(embeddings.device)
        distances = (embeddings - embeddings[owned].mean(dim=0)).norm(dim=1)
        return by_contributor(distances, material, self.aggregate)
