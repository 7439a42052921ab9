"""How Shapley values weigh coalitions: the kernel of KernelSHAP."""

import math

import numpy as np
from numpy.typing import NDArray

from crediting.game.coalition import CoalitionMatrix

Floats = NDArray[np.float64]

EQUAL_LOG_WEIGHTS = 1e-9
"""Weights whose logarithms agree this well differ by rounding only."""


def log_shapley_kernel(n_players: int) -> Floats:
    """Return log 1/(C(n, s) s (n - s)) for the sizes s = 1..n-1, (n - 1,): the kernel unnormalised.

    Source: Lundberg & Lee, "A unified approach to interpreting model predictions", 2017, theorem 2.
    """
    sizes = range(1, n_players)
    # Binomials beyond the largest float are common; math.log takes integers of any size.
    return np.array([-math.log(math.comb(n_players, s) * s * (n_players - s)) for s in sizes])


def importance_weights(coalitions: CoalitionMatrix, log_probabilities: Floats) -> Floats:
    """Return the Shapley kernel over the probability of each proper coalition, (m,), summing to 1.

    Coalitions drawn from the kernel itself get weights that are equal to the last bit.
    """
    n_rows, n_players = coalitions.shape
    log_weights = log_shapley_kernel(n_players)[coalitions.sum(axis=1) - 1] - log_probabilities
    if np.ptp(log_weights) < EQUAL_LOG_WEIGHTS:
        return np.full(n_rows, 1 / n_rows)
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()
