"""How unusual training images are: the paper's baseline for the diversity of faces."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crediting.baselines.aggregate import by_contributor
from crediting.baselines.reading import ReadsFeatures
from crediting.interfaces import Material


@dataclass(frozen=True)
class EmbeddingDistance(ReadsFeatures):
    """Distance of a training image's embedding to the mean embedding of the contributors' images.

    The paper's extractor is blip_vqa. Arguments: see `ReadsFeatures`.
    """

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the distance of each contributor, (n,).

        Raises:
            ConfigError: there are no such embeddings.
        """
        embeddings = self.read(material, "training")
        owned = torch.from_numpy(material.contributors >= 0).to(embeddings.device)
        distances = (embeddings - embeddings[owned].mean(dim=0)).norm(dim=1)
        return by_contributor(distances, material, self.aggregate)
