"""What measures of features have in common."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from crediting.interfaces import Features


def field(features: Features, name: str) -> Tensor:
    """Return a field that must be there."""
    values = getattr(features, name)
    assert values is not None, f"no {name}: the extractor does not give what the property needs"
    return values


def of_field(name: str, measure: Callable[[Tensor], float]) -> Callable[[Features], float]:
    """Return a measure of one field as a measure of features: NaN where not all is finite."""

    def of_features(generated: Features) -> float:
        values = field(generated, name)
        return measure(values) if bool(torch.isfinite(values).all()) else math.nan

    return of_features
