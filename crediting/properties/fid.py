"""Frechet distance of embeddings (Heusel et al., 2017): FID when the extractor is Inception."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crediting.errors import EvaluationError
from crediting.interfaces import Features
from crediting.properties.measure import field, of_field


@dataclass(frozen=True)
class FrechetDistance:
    """Squared Frechet distance between Gaussians fitted to generated and reference embeddings.

    Covariances are C = R'R with R the centred embeddings in triangular form, so the trace of the
    root of their product is the sum of the singular values of R1 R2': no matrix is larger than
    there are images, and no product of covariances loses digits.

    Args:
        extractor: whose embeddings are read, or null for the first chosen one that gives any.
    """

    extractor: str | None

    unit: ClassVar[str] = "FID"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[str] = "embeddings"

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the distance to the reference embeddings, whose Gaussian is fitted once."""
        real_mean, real_root = _gaussian(field(reference, self.needs))

        def distance(generated: Tensor) -> float:
            mean, root = _gaussian(generated)
            common = torch.linalg.svdvals(real_root @ root.T).sum()
            spread = real_root.square().sum() + root.square().sum() - 2 * common
            return float((mean - real_mean).square().sum() + spread)

        return of_field(self.needs, distance)

    def advice(self, images: int, reference: Features) -> str | None:
        """Return what to say of so few generated or reference images; None if they suffice."""
        known, dimensions = field(reference, self.needs).shape
        fewest = min(images, known)
        if fewest > dimensions:
            return None
        return (
            f"covariances of {dimensions} dimensions from {fewest} images make it too large, much "
            "the same for every coalition: compare it within this study only, or measure kid, "
            "which does not depend on how many images there are"
        )


def _gaussian(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, (d,), and R, (min(n, d), d), of which R'R is the covariance."""
    count = len(embeddings)
    if count < 2:
        raise EvaluationError(f"a covariance takes at least 2 images, got {count}")
    mean = embeddings.mean(dim=0)
    triangular = torch.linalg.qr((embeddings - mean) / (count - 1) ** 0.5, mode="r").R
    return mean, triangular
