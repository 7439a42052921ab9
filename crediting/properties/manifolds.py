"""Precision and recall of embeddings (Kynkaanniemi et al., 2019): quality and coverage apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crediting.errors import ConfigError
from crediting.interfaces import Features
from crediting.properties.measure import field, of_field

_ROWS = 1024  # of a matrix of distances at a time, to bound the memory


@dataclass(frozen=True)
class Precision:
    """Share of the generated images that lie in the manifold of the reference images.

    A manifold is the union of balls around images, each of which just reaches its k-th neighbour.

    Args:
        extractor: whose embeddings are read, or null for the first chosen one that gives any.
        neighbours: k.
    """

    extractor: str | None
    neighbours: int

    unit: ClassVar[str] = "share of images"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "embeddings"

    def __post_init__(self) -> None:
        _check_neighbours(self.neighbours)

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure, with the manifold of the reference images.

        Raises:
            ConfigError: there are too few reference images.
        """
        real = field(reference, self.needs)
        radii = _radii(real, self.neighbours)
        return of_field(self.needs, lambda generated: _share_inside(generated, real, radii))


@dataclass(frozen=True)
class Recall:
    """Share of the reference images that lie in the manifold of the generated images.

    Args:
        extractor: whose embeddings are read, or null for the first chosen one that gives any.
        neighbours: k, as for precision.
    """

    extractor: str | None
    neighbours: int

    unit: ClassVar[str] = "share of images"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "embeddings"

    def __post_init__(self) -> None:
        _check_neighbours(self.neighbours)

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure, which raises ConfigError when too few images are generated."""
        real = field(reference, self.needs)

        def recall(generated: Tensor) -> float:
            radii = _radii(generated, self.neighbours)
            return _share_inside(real, generated, radii)

        return of_field(self.needs, recall)


def _check_neighbours(neighbours: int) -> None:
    if neighbours < 1:
        raise ConfigError(f"neighbours: expected 1 or more, got {neighbours}")


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Return the distance of each point (n, d) to its k-th nearest other point, (n,)."""
    if len(points) <= neighbours:
        raise ConfigError(
            f"neighbours: expected fewer than the {len(points)} images that are to have so many "
            f"neighbours, got {neighbours}; lower it, or have more images"
        )
    # one more, since every point is its own nearest neighbour
    distances = [torch.cdist(rows, points).kthvalue(neighbours + 1) for rows in points.split(_ROWS)]
    return torch.cat([nearest.values for nearest in distances])


def _share_inside(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    """Return the share of points (n, d) in any ball around centres (m, d) with radii (m,)."""
    inside = [(torch.cdist(rows, centres) <= radii).any(dim=1) for rows in points.split(_ROWS)]
    return float(torch.cat(inside).double().mean())
