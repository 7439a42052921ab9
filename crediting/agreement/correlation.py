"""How well two ways of obtaining the same utilities agree, such as fine-tuning and retraining.

Every measure compares two vectors (m,) entry by entry. A correlation with a constant vector, or of
fewer than two entries, is undefined: NaN.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Utilities = NDArray[np.float64]
Correlation = Callable[[Utilities, Utilities], float]


def pearson(first: Utilities, second: Utilities) -> float:
    """Return the linear correlation of two vectors (m,), in [-1, 1]."""
    check_paired(first, second)
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    a, b = first - first.mean(), second - second.mean()
    correlation = (a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(correlation, -1.0, 1.0))


def spearman(first: Utilities, second: Utilities) -> float:
    """Return the rank correlation of two vectors (m,), in [-1, 1]; ties share their mean rank.

    Over coalitions this is the linear datamodeling score, if one vector is predicted.
    Source: Park et al., "TRAK: Attributing Model Behavior at Scale", 2023, definition 2.3.
    """
    return pearson(_ranks(first), _ranks(second))


def _ranks(values: Utilities) -> Utilities:
    """Return the rank of each value (m,), from 1; ties share their mean, and NaN has none."""
    _, place, tied = np.unique(values, return_inverse=True, return_counts=True)
    ranks = tied.cumsum() - (tied - 1) / 2
    return np.where(np.isnan(values), np.nan, ranks[place])


def mean_absolute_error(first: Utilities, second: Utilities) -> float:
    """Return the mean of |first - second| over vectors (m,), in their unit."""
    check_paired(first, second)
    return float(np.abs(first - second).mean())


def bootstrap_interval(
    correlation: Correlation,
    first: Utilities,
    second: Utilities,
    confidence: float,
    replicates: int,
    seed: int,
) -> tuple[float, float]:
    """Return the percentile interval of a correlation of two vectors (m,), by resampling pairs.

    Resamples in which the correlation is undefined are dropped; (NaN, NaN) if all are.
    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    check_paired(first, second)
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(first), size=(replicates, len(first)))
    resampled = np.array([correlation(first[rows], second[rows]) for rows in draws])
    defined = resampled[~np.isnan(resampled)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def check_paired(first: Utilities, second: Utilities) -> None:
    """Raise ValueError unless both are vectors of one length."""
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"expected two vectors of equal length, got {first.shape}, {second.shape}")
