"""How well one vector ranks the rows of several columns, and how sure that is.

Rows are coalitions, columns are training seeds. Both are drawn at random, so both are luck: the
interval says where the mean rank correlation over other coalitions and other seeds may lie.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement.correlation import spearman
from crediting.agreement.spread import UNKNOWN, Spread

Floats = NDArray[np.float64]

MOST_CELLS = 2_000_000
"""Resamples are worked on in batches of at most so many entries."""
_ROUNDING = 1e-12
"""Standard errors below it are those of sums in another order."""


class RankAgreement(NamedTuple):
    """Mean rank correlation over columns, that of each (r,), and the ends of a 95 % interval."""

    mean: float
    per_column: Floats
    low: float
    high: float


def rank_agreement(
    first: Floats, second: Floats, replicates: int, seed: int, share: float = 0.0
) -> RankAgreement:
    """Return how well a vector (m,) ranks the rows of every column of (m, r).

    The interval is symmetric in Fisher's z. Its variance is that over resampled rows, which all
    columns share, and what the columns differ by beyond it. The rows are a `share` of all there
    are: the more of them, the less of the first variance is left. The ends are unknown for fewer
    than 4 rows; of a single column, they are about other rows only, whatever the share, as what
    rows and columns vary cannot be told apart. All is NaN where a correlation is undefined.
    """
    per_column = _per_column(first, second)
    mean = float(per_column.mean())
    if np.isnan(mean) or len(first) < 4:
        return RankAgreement(mean, per_column, float("nan"), float("nan"))
    resampled = resampled_spearman(first, second, replicates, seed)
    spread = _spread(per_column, resampled, len(first), share)
    low, high = _fisher_interval(mean, spread, len(first))
    return RankAgreement(mean, per_column, low, high)


def agreement_gap(
    first: Floats, other: Floats, second: Floats, replicates: int, seed: int, share: float
) -> tuple[float, Spread]:
    """Return by how much `first` (m,) ranks the rows of (m, r) better than `other`, in the mean.

    Both are held against the same resamples, so that luck which they share cancels; `share` is as
    for `rank_agreement`.
    """
    gaps = _per_column(first, second) - _per_column(other, second)
    if np.isnan(gaps).any() or len(first) < 4:
        return float(gaps.mean()), UNKNOWN
    one, two = (resampled_spearman(v, second, replicates, seed) for v in (first, other))
    spread = _spread(gaps, one - two, len(first), share)
    if spread.std_error < _ROUNDING and share < 1 and gaps.any():
        spread = UNKNOWN  # of two perfect rankings no resample differs
    return float(gaps.mean()), spread


def resampled_spearman(first: Floats, second: Floats, replicates: int, seed: int) -> Floats:
    """Return the rank correlations, (replicates, r), of (m,) and (m, r) with rows redrawn.

    Each resample serves all columns, and equal seeds draw equal resamples. It is held as counts
    of every row, so that values are sorted once for all. Undefined correlations are NaN.
    """
    rows = len(first)
    generator = np.random.default_rng(seed)
    batch = max(1, MOST_CELLS // rows)
    parts = []
    for start in range(0, replicates, batch):
        size = min(batch, replicates - start)
        counts = generator.multinomial(rows, np.full(rows, 1 / rows), size).astype(np.float64)
        ranks = _centred_ranks(first, counts)
        columns = [_correlation(ranks, _centred_ranks(c, counts), counts) for c in second.T]
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts)


def _per_column(first: Floats, second: Floats) -> Floats:
    return np.array([spearman(first, column) for column in second.T])


def _centred_ranks(values: Floats, counts: Floats) -> Floats:
    """Return the rank of each value (m,) in each resample (b, m), less the mean rank."""
    _, place, tied = np.unique(values, return_inverse=True, return_counts=True)
    by_value = counts[:, np.argsort(values, kind="stable")]
    sizes = np.add.reduceat(by_value, tied.cumsum() - tied, axis=1)
    last = sizes.cumsum(axis=1)
    mean = (counts.sum(axis=1, keepdims=True) + 1) / 2
    return (last - (sizes - 1) / 2)[:, place] - mean


def _correlation(one: Floats, other: Floats, counts: Floats) -> Floats:
    products = (counts * one * other).sum(axis=1)
    squares = (counts * one**2).sum(axis=1) * (counts * other**2).sum(axis=1)
    undefined = squares == 0
    return np.where(undefined, np.nan, products / np.sqrt(np.where(undefined, 1.0, squares)))


def _spread(per_column: Floats, resampled: Floats, n_rows: int, share: float) -> Spread:
    """Return the spread of the mean over columns, as `spread_of_mean` for resampled rows.

    What the columns have in common when rows are redrawn is due to the rows alone, of which a
    finite population leaves 1 - share (Cochran, "Sampling Techniques", 1977, section 2.6).
    """
    defined = resampled[~np.isnan(resampled).any(axis=1)]
    if len(defined) < 2:
        return UNKNOWN
    r = len(per_column)
    covariance = np.atleast_2d(np.cov(defined, rowvar=False))
    rows, columns = float(covariance.mean()), 0.0
    if r > 1:
        together = (covariance.sum() - np.trace(covariance)) / (r * (r - 1))
        luck = (np.trace(covariance) / r - together) / r
        columns = max(0.0, float(per_column.var(ddof=1) / r - luck))
        rows = (1 - share) * max(0.0, float(together)) + float(luck)
    return Spread.crossed(max(0.0, rows), n_rows, columns, r)


def _fisher_interval(mean: float, spread: Spread, n_rows: int) -> tuple[float, float]:
    """Return the ends of the interval of a mean correlation, symmetric in Fisher's z.

    Resampling cannot vary a perfect correlation; it is taken for one that is a single swap of
    neighbours away, with the standard error of Bonett & Wright, "Sample size requirements for
    estimating Pearson, Kendall and Spearman correlations", 2000.
    """
    almost = 1 - 12 / (n_rows * (n_rows**2 - 1))
    inner = float(np.clip(mean, -almost, almost))
    if inner != mean:
        least = (1 - almost**2) * np.sqrt(1.5 / (n_rows - 3))
        spread = spread._replace(std_error=float(max(spread.std_error, least)))
    half_width = spread.half_width / (1 - inner**2)
    z = np.arctanh(inner)
    low, high = np.tanh([z - half_width, z + half_width])
    return min(float(low), mean), max(float(high), mean)
