"""How similar training images are to those that the full model generates.

The cosines of a training image with all generated images have as their mean its product with the
mean of these, all brought to length 1: no matrix of pairs is ever needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from crediting.baselines.aggregate import AGGREGATES, by_contributor
from crediting.baselines.reading import ReadsFeatures
from crediting.baselines.settings import check_choice, check_count
from crediting.errors import ConfigError
from crediting.interfaces import Material, Planned


@dataclass(frozen=True)
class PixelSimilarity:
    """Mean cosine of a training image's pixels, from -1 to 1, with those of the generated images.

    The mean over generated images comes first, also for the maximum, as in the paper's baselines
    of CIFAR-20 and CelebA-HQ.

    Args:
        aggregate: mean, max or sum over a contributor's training images.
        batch_size: images at a time; it does not change the scores.

    Raises:
        ConfigError: there is no such aggregate, or the batch size is not positive.
    """

    aggregate: str
    batch_size: int

    memory_settings: ClassVar[tuple[str, ...]] = ("batch_size",)

    def __post_init__(self) -> None:
        check_choice("aggregate", self.aggregate, AGGREGATES)
        check_count("batch_size", self.batch_size)

    def check(self, study: Planned) -> None:
        """Raise ConfigError if training and generated images will differ in shape."""
        point = torch.zeros(1, *study.model.latent_shape())
        _check_shapes(study.dataset.training_images(), study.model.decode(point))

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the similarity of each contributor, (n,).

        Raises:
            ConfigError: training and generated images differ in shape.
        """
        generated, training = material.generated_images(), material.training_images()
        _check_shapes(training, generated)
        sums = [batch.sum(dim=0) for batch in self._unit_pixels(generated, material.device)]
        centre = torch.stack(sums).sum(dim=0) / len(generated)
        cosines = [batch @ centre for batch in self._unit_pixels(training, material.device)]
        return by_contributor(torch.cat(cosines), material, self.aggregate)

    def _unit_pixels(self, images: Tensor, device: torch.device) -> Iterator[Tensor]:
        """Yield the pixels of batches of images as vectors of length 1, float64 (B, d)."""
        for batch in images.split(self.batch_size):
            # no pixel is exactly between black and white, so no image has length 0
            yield F.normalize(batch.to(device).flatten(1).double() / 127.5 - 1, dim=1)


def _check_shapes(training: Tensor, generated: Tensor) -> None:
    if generated.shape[1:] != training.shape[1:]:
        raise ConfigError(
            "_target_: pixels can be compared of images of one shape alone, and the training "
            f"images are {tuple(training.shape[1:])}, the generated ones "
            f"{tuple(generated.shape[1:])}; use baseline=[embedding_similarity_mean] instead"
        )


@dataclass(frozen=True)
class EmbeddingSimilarity(ReadsFeatures):
    """Mean cosine of a training image's embedding with those of the generated images.

    The paper's CLIP similarity, when the extractor is clip. Arguments: see `ReadsFeatures`.
    """

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the similarity of each contributor, (n,).

        Raises:
            ConfigError: there are no such embeddings.
        """
        generated, training = (
            F.normalize(self.read(material, which), dim=1) for which in ("generated", "training")
        )
        return by_contributor(training @ generated.mean(dim=0), material, self.aggregate)
