"""How noisy a utility is, by evaluating coalitions more than once."""

import math

import numpy as np
from numpy.typing import NDArray


def noise_of_means(
    values: NDArray[np.float64],
    coalitions: NDArray[np.int64],
    replicates: NDArray[np.int64] | None,
) -> float:
    """Return the variance that noise gives the mean of a coalition's evaluations.

    It is the mean square within coalitions, over the number of evaluations (where that differs, its
    mean over coalitions). Replicates may share their random numbers across coalitions; what one of
    them adds to all utilities alike cancels in every difference, of which credits are made. So it
    is taken out if every coalition has every replicate: without bias if there is no such thing.

    Args:
        values: of k evaluations, (k,).
        coalitions: which coalition was evaluated, (k,), 0 to m - 1, each at least once.
        replicates: which replicate each is, (k,), 0 to r - 1, or None if that is not known.

    Returns:
        NaN if no coalition was evaluated twice, or there is only one.

    Source: Scheffé, "The Analysis of Variance", 1959, sections 3.1 (one-way layout) and 4.2
    (two-way layout, one per cell).
    """
    counts = np.bincount(coalitions)
    means = np.bincount(coalitions, weights=values) / counts
    residuals = values - means[coalitions]
    freedom = len(values) - len(counts)
    if replicates is not None and _crossed(coalitions, replicates):
        shifts = np.bincount(replicates, weights=residuals) / len(counts)
        residuals = residuals - shifts[replicates]
        freedom -= len(shifts) - 1
    if freedom < 1:
        return math.nan
    return float((residuals**2).sum() / freedom * (1 / counts).mean())


def _crossed(coalitions: NDArray[np.int64], replicates: NDArray[np.int64]) -> bool:
    """Return whether every coalition has every replicate, once."""
    m, r = coalitions.max() + 1, replicates.max() + 1
    return len(coalitions) == m * r and len(np.unique(coalitions * r + replicates)) == m * r
