"""Mean and quantiles of a score that an extractor gives every image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from crediting.errors import ConfigError
from crediting.interfaces import Features
from crediting.properties.measure import of_field


@dataclass(frozen=True)
class MeanScore:
    """Mean of the scores of the images: CLIPScore, when those of CLIP are read.

    Args:
        extractor: whose scores are read, or null for the first chosen one that gives any.
    """

    extractor: str | None

    unit: ClassVar[str] = "points"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "scores"

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure; the reference images play no part in it."""
        return of_field(self.needs, lambda scores: float(scores.mean()))


@dataclass(frozen=True)
class QuantileScore:
    """Quantile of the scores of the images, linear between the two nearest.

    The paper's property of paintings is the 0.9 quantile of aesthetic scores (ArtBench).

    Args:
        extractor: whose scores are read, or null for the first chosen one that gives any.
        quantile: from 0, the lowest score, over 0.5, the median, to 1, the highest.
    """

    extractor: str | None
    quantile: float

    unit: ClassVar[str] = "points"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "scores"

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ConfigError(f"quantile: expected a number from 0 to 1, got {self.quantile}")

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure; the reference images play no part in it."""
        return of_field(self.needs, lambda scores: float(torch.quantile(scores, self.quantile)))
