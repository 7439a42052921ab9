"""Frechet distance of embeddings (Heusel et al., 2017): FID when the extractor is Inception."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crediting.interfaces import Features
from crediting.properties.measure import field, of_field


@dataclass(frozen=True)
class FrechetDistance:
    """Squared Frechet distance between Gaussians fitted to generated and reference embeddings.

    Args:
        extractor: whose embeddings are read, or null for the first chosen one that gives any.
    """

    extractor: str | None

    unit: ClassVar[str] = "FID"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[str] = "embeddings"

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the distance to the reference embeddings, whose sums are taken once."""
        real = field(reference, self.needs)
        metric = _metric(real)
        metric.update(real, real=True)

        def distance(generated: Tensor) -> float:
            metric.reset()  # keeps the real part: reset_real_features is off
            metric.update(generated, real=False)
            return float(metric.compute())

        return of_field(self.needs, distance)


def _metric(embeddings: Tensor) -> torch.nn.Module:
    from torchmetrics.image.fid import FrechetInceptionDistance

    identity = torch.nn.Identity()
    identity.num_features = embeddings.shape[1]
    metric = FrechetInceptionDistance(feature=identity, reset_real_features=False)
    return metric.set_dtype(torch.float64).to(embeddings.device)
