"""Frechet distance of embeddings (Heusel et al., 2017): FID when the extractor is Inception."""

from collections.abc import Callable
from typing import ClassVar

import torch

from crediting.interfaces import Features


class FrechetDistance:
    """Squared Frechet distance between Gaussians fitted to generated and reference embeddings."""

    unit: ClassVar[str] = "FID"
    higher_is_better: ClassVar[bool] = False

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the distance to the reference embeddings, whose sums are taken once."""
        metric = _metric(reference.embeddings)
        metric.update(reference.embeddings, real=True)

        def measure(generated: Features) -> float:
            if not torch.isfinite(generated.embeddings).all():
                return float("nan")  # which the eigenvalues would be refused for
            metric.reset()  # keeps the real part: reset_real_features is off
            metric.update(generated.embeddings, real=False)
            return float(metric.compute())

        return measure


def _metric(embeddings: torch.Tensor) -> torch.nn.Module:
    from torchmetrics.image.fid import FrechetInceptionDistance

    identity = torch.nn.Identity()
    identity.num_features = embeddings.shape[1]
    metric = FrechetInceptionDistance(feature=identity, reset_real_features=False)
    return metric.set_dtype(torch.float64).to(embeddings.device)
