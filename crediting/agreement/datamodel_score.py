"""The linear datamodel score: do summed credits rank coalitions as retrained models do?

Source: Park et al., "TRAK: Attributing Model Behavior at Scale", 2023, definition 2.3, as in the
paper, definition 2 and table 1: in percent, averaged over training seeds.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement.rank_agreement import agreement_gap, rank_agreement
from crediting.game.coalition import CoalitionMatrix

Floats = NDArray[np.float64]

_PERCENT = 100
_SAME = 12
"""Predictions that agree in so many digits are one: only the order of summation parts them."""


class DatamodelScore(NamedTuple):
    """A score in percent, that of each training seed (r,), and how sure it is; NaN if undefined.

    `paper_half_width` is the paper's interval, 1.96 standard errors over seeds only and with the
    population's standard deviation: it leaves out the luck of which coalitions were drawn. `low`
    and `high` are a 95 % interval over coalitions and seeds.
    """

    score: float
    per_seed: Floats
    paper_half_width: float
    low: float
    high: float
    n_coalitions: int


class ScoreDifference(NamedTuple):
    """By how much one score exceeds another, in percentage points, with its 95 % interval."""

    difference: float
    low: float
    high: float


def datamodel_score(
    credits: Floats, coalitions: CoalitionMatrix, utilities: Floats, replicates: int, seed: int
) -> DatamodelScore:
    """Return the score of credits (n,) on coalitions (m, n) retrained with r seeds, (m, r).

    A coalition counts if no seed's utility is NaN. The score is NaN where a ranking is undefined:
    fewer than two coalitions, or all predicted or measured alike. `replicates` resamples of the
    coalitions decide the interval, drawn from `seed`. Of n contributors there are finitely many
    coalitions of a size, which is allowed for: when all were trained, only seeds are luck.

    Raises:
        ValueError: shapes do not fit, credits are not finite, coalitions differ in size (then size
            alone would be rewarded; as in the paper), or there is no seed.
    """
    predicted, measured = _complete(credits, coalitions, utilities)
    found = rank_agreement(
        predicted, measured, replicates, seed, _share_tested(coalitions, measured)
    )
    per_seed = _PERCENT * found.per_column
    r = len(per_seed)
    return DatamodelScore(
        score=_PERCENT * found.mean,
        per_seed=per_seed,
        paper_half_width=float(1.96 * per_seed.std() / np.sqrt(r)) if r > 1 else float("nan"),
        low=_PERCENT * found.low,
        high=_PERCENT * found.high,
        n_coalitions=len(measured),
    )


def difference(
    credits_a: Floats,
    credits_b: Floats,
    coalitions: CoalitionMatrix,
    utilities: Floats,
    replicates: int,
    seed: int,
) -> ScoreDifference:
    """Return by how much the score of `credits_a` exceeds that of `credits_b`, paired.

    Both are held against the same coalitions, seeds and resamples; otherwise, and in what it
    raises, as `datamodel_score`.
    """
    predicted_a, measured = _complete(credits_a, coalitions, utilities)
    predicted_b, _ = _complete(credits_b, coalitions, utilities)
    share = _share_tested(coalitions, measured)
    gap, spread = agreement_gap(predicted_a, predicted_b, measured, replicates, seed, share)
    half_width = spread.half_width
    return ScoreDifference(
        difference=_PERCENT * gap,
        low=_PERCENT * max(gap - half_width, -2.0),  # two correlations are no further apart
        high=_PERCENT * min(gap + half_width, 2.0),
    )


def _complete(
    credits: Floats, coalitions: CoalitionMatrix, utilities: Floats
) -> tuple[Floats, Floats]:
    """Return predictions (k,) and utilities (k, r) of the coalitions evaluated with all seeds."""
    n = len(credits)
    if credits.shape != (n,) or coalitions.shape[1:] != (n,):
        raise ValueError(f"credits {credits.shape} do not fit coalitions {coalitions.shape}")
    if utilities.ndim != 2 or len(utilities) != len(coalitions) or utilities.shape[1] < 1:
        raise ValueError(
            f"expected utilities ({len(coalitions)}, seeds) with at least one seed, "
            f"got {utilities.shape}"
        )
    if not np.isfinite(credits).all():
        raise ValueError("expected finite credits")
    sizes = np.unique(coalitions.sum(axis=1))
    if len(sizes) > 1:
        raise ValueError(f"expected coalitions of one size, got sizes {sizes.tolist()}")
    complete = ~np.isnan(utilities).any(axis=1)
    scale = float(np.abs(credits).sum()) or 1.0
    return np.round(coalitions[complete] @ credits / scale, _SAME), utilities[complete]


def _share_tested(coalitions: CoalitionMatrix, measured: Floats) -> float:
    """Return the share of all coalitions of that size that was measured, (k, r) of (m, n)."""
    if not len(coalitions):
        return 0.0
    n, size = coalitions.shape[1], int(coalitions[0].sum())
    return min(1.0, len(measured) / math.comb(n, size))
