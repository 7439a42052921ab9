"""How noisy a utility is, by evaluating coalitions more than once."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Noise(NamedTuple):
    """The variance that noise gives a mean utility, and the degrees of freedom it is known with."""

    variance: float
    degrees: float


UNMEASURED = Noise(math.nan, math.inf)


def noise_of_means(
    values: NDArray[np.float64],
    coalitions: NDArray[np.int64],
    replicates: NDArray[np.int64] | None,
) -> Noise:
    """Return the variance that noise gives the mean of a coalition's evaluations.

    It is the mean square within coalitions, over the number of evaluations (where that differs, its
    mean over coalitions). Replicates may share their random numbers across coalitions; what one of
    them adds to all utilities alike cancels in every difference, of which credits are made. So it
    is taken out, without bias if there is no such thing, if several coalitions have every
    replicate, and then the mean square is theirs alone.

    Args:
        values: of k evaluations, (k,).
        coalitions: which coalition was evaluated, (k,), 0 to m - 1, each at least once.
        replicates: which replicate each is, (k,), 0 to r - 1, or None if that is not known.

    Returns:
        UNMEASURED if no coalition was evaluated twice, or there is only one.

    Source: Scheffé, "The Analysis of Variance", 1959, sections 3.1 (one-way layout) and 4.2
    (two-way layout, one per cell).
    """
    counts = np.bincount(coalitions)
    means = np.bincount(coalitions, weights=values) / counts
    residuals = values - means[coalitions]
    freedom = len(values) - len(counts)
    crossed = np.zeros(0, bool) if replicates is None else _crossed(coalitions, replicates)
    if replicates is not None and (crossed.sum() > 1 or crossed.all()):
        kept = crossed[coalitions]
        residuals, replicates = residuals[kept], replicates[kept]
        shifts = np.bincount(replicates, weights=residuals) / crossed.sum()
        residuals = residuals - shifts[replicates]
        freedom = int((crossed.sum() - 1) * (len(shifts) - 1))
    if freedom < 1:
        return UNMEASURED
    return Noise(float((residuals**2).sum() / freedom * (1 / counts).mean()), freedom)


def _crossed(coalitions: NDArray[np.int64], replicates: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which coalitions have every replicate, once, (m,)."""
    n_replicates = replicates.max() + 1
    different = np.unique(coalitions * n_replicates + replicates) // n_replicates
    all_different = np.bincount(different) == n_replicates
    return all_different & (np.bincount(coalitions) == n_replicates)
