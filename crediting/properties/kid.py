"""Kernel distance of embeddings (Binkowski et al., 2018): KID when the extractor is Inception."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crediting.errors import ConfigError
from crediting.interfaces import Features
from crediting.properties.measure import field, of_field
from crediting.randomness import Stream

_ROWS = 1024  # of a kernel matrix at a time, to bound the memory


@dataclass(frozen=True)
class KernelDistance:
    """Unbiased squared maximum mean discrepancy for the kernel k(x, y) = (x.y / d + 1)^3.

    Being unbiased, it is around 0, and also below, for images like the reference images.

    Args:
        extractor: whose embeddings are read, or null for the first chosen one that gives any.
        subset_size: images per subset of each side, or null for one distance between all images.
        subsets: over so many random subsets the distance is averaged; unused without a size.
        seed: identity of the draw of the subsets, which are the same for every model.
    """

    extractor: str | None
    subset_size: int | None
    subsets: int
    seed: int

    unit: ClassVar[str] = "KID"
    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[str] = "embeddings"

    def __post_init__(self) -> None:
        if self.subset_size is not None and self.subset_size < 2:
            raise ConfigError(f"subset_size: expected 2 or more, got {self.subset_size}")
        if self.subsets < 1:
            raise ConfigError(f"subsets: expected 1 or more, got {self.subsets}")

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the distance to the reference embeddings.

        Raises:
            ConfigError: there are fewer reference images than a subset needs; the measure says
                the same of generated ones.
        """
        reals = self._drawn(field(reference, self.needs), "reference")
        similarities = [_mean_kernel_within(real) for real in reals]

        def distance(generated: Tensor) -> float:
            drawn = self._drawn(generated, "generated")
            distances = [
                similarity + _mean_kernel_within(fake) - 2 * _mean_kernel(fake, real)
                for similarity, real, fake in zip(similarities, reals, drawn, strict=True)
            ]
            return float(torch.stack(distances).mean())

        return of_field(self.needs, distance)

    def _drawn(self, embeddings: Tensor, side: str) -> list[Tensor]:
        """Return the subsets of embeddings (N, d), or all of them."""
        needed = self.subset_size or 2
        if len(embeddings) < needed:
            raise ConfigError(
                f"subset_size: expected {needed} {side} images or more, "
                f"got {len(embeddings)}; lower it, or have more images"
            )
        if self.subset_size is None:
            return [embeddings]
        everything = torch.arange(len(embeddings), device=embeddings.device)
        return [
            embeddings[Stream("kid", self.seed, side, i).choose(everything, self.subset_size)]
            for i in range(self.subsets)
        ]


def _mean_kernel(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean kernel over all pairs from (n, d) and (m, d)."""
    sums = [((rows @ other.T / one.shape[1] + 1) ** 3).sum() for rows in one.split(_ROWS)]
    return torch.stack(sums).sum() / (len(one) * len(other))


def _mean_kernel_within(points: Tensor) -> Tensor:
    """Return the mean kernel over all pairs of different points of (n, d)."""
    n, d = points.shape
    with_themselves = ((points.square().sum(dim=1) / d + 1) ** 3).mean()
    return (n * _mean_kernel(points, points) - with_themselves) / (n - 1)
