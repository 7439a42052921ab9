"""How far cheap utilities may stand for better ones, such as fine-tuning for retraining."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement.correlation import check_paired, mean_absolute_error, pearson
from crediting.agreement.rank_agreement import rank_agreement

Floats = NDArray[np.float64]


class Fidelity(NamedTuple):
    """Agreement of cheap and better utilities on the same n coalitions; NaN where undefined.

    `spearman_low` and `spearman_high` are the ends of a 95 % interval over other coalitions. `r2`
    is the share of the better utilities' variance that the best linear function of the cheap ones
    explains, `r2_raw` that which they explain as they are (negative if their mean does better).
    `mean_absolute_error` is in the unit of the property.
    """

    spearman: float
    spearman_low: float
    spearman_high: float
    pearson: float
    r2: float
    r2_raw: float
    mean_absolute_error: float
    n: int


def fidelity(cheap: Floats, better: Floats, replicates: int, seed: int) -> Fidelity:
    """Return how well cheap utilities (m,) stand for better ones (m,) of the same coalitions.

    Coalitions of which either is NaN are left out; `replicates` resamples drawn from `seed` decide
    the interval.

    Raises:
        ValueError: the vectors differ in length.
    """
    check_paired(cheap, better)
    both = ~(np.isnan(cheap) | np.isnan(better))
    cheap, better = cheap[both], better[both]
    ranks = rank_agreement(cheap, better[:, None], replicates, seed)
    linear = pearson(cheap, better)
    return Fidelity(
        spearman=ranks.mean,
        spearman_low=ranks.low,
        spearman_high=ranks.high,
        pearson=linear,
        r2=linear**2,
        r2_raw=_explained(cheap, better),
        mean_absolute_error=mean_absolute_error(cheap, better) if len(cheap) else float("nan"),
        n=len(cheap),
    )


def verdict(found: Fidelity, threshold: float) -> str | None:
    """Return a warning if cheap utilities cannot be shown to rank coalitions well enough, or None.

    `threshold` is the least rank correlation that will do.
    """
    if np.isnan(found.spearman):
        return (
            f"How well these utilities agree with those of the reference is undefined: {found.n} "
            "coalitions have both, or all utilities are equal."
        )
    said = (
        f"These utilities rank {found.n} coalitions as those of the reference do with a rank "
        f"correlation of {found.spearman:.2f}"
    )
    if np.isnan(found.spearman_low):
        return f"{said}; too few coalitions to tell whether it is {threshold:g} or more."
    interval = f"{said} (95 % interval {found.spearman_low:.2f} to {found.spearman_high:.2f})"
    if found.spearman_high < threshold:
        return f"{interval}, below the {threshold:g} asked for: do not trust them."
    if found.spearman_low < threshold:
        return f"{interval}: too few coalitions to tell whether it is {threshold:g} or more."
    return None


def _explained(predicted: Floats, measured: Floats) -> float:
    """Return 1 - SSE / SST; NaN for constant measurements or fewer than two."""
    if len(measured) < 2 or np.ptp(measured) == 0:
        return float("nan")
    errors = ((measured - predicted) ** 2).sum()
    return float(1 - errors / ((measured - measured.mean()) ** 2).sum())
