"""Shapley values as mean marginal contributions along random orders."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.estimators.exact import shapley_noise_covariance
from crediting.estimators.regression.units import Orders, complete_orders
from crediting.estimators.uncertainty import (
    by_covariance,
    check_confidence,
    noise_errors,
    not_below,
    unknown,
)
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample

Floats = NDArray[np.float64]


def marginal_contributions(sample: EvaluatedSample, orders: Orders) -> Floats:
    """Return what each contributor adds on arrival in each of k orders, (k, n).

    The first comes to nobody, the last completes the grand coalition.
    """
    first = np.full(len(orders.rows), sample.v_empty)
    last = np.full(len(orders.rows), sample.v_full)
    utilities = np.column_stack([first, sample.utilities[orders.rows], last])
    return np.take_along_axis(np.diff(utilities, axis=1), orders.places, axis=1)


def covariance_of_mean(contributions: Floats, units: NDArray[np.int64]) -> tuple[Floats, int]:
    """Return the covariance (n, n) of the mean of contributions (k, n), and how many units it has.

    Units, which may differ in their number of orders, are independent; orders of a unit are not.
    Source: Cochran, "Sampling Techniques", 1977, section 9A.2 (clusters of unequal size).
    """
    numbers = np.unique(units, return_inverse=True)[1]
    n_units = int(numbers.max()) + 1
    sums = np.zeros((n_units, contributions.shape[1]))
    np.add.at(sums, numbers, contributions - contributions.mean(axis=0))
    means = sums / len(contributions)
    return means.T @ means * n_units / max(n_units - 1, 1), n_units


def noise_of_mean(sample: EvaluatedSample, orders: Orders) -> Floats:
    """Return the standard errors (n,) from the noise of utilities alone; NaN if never measured."""
    n_orders, n_players = orders.places.shape
    if math.isnan(sample.noise_variance):
        return np.full(n_players, np.nan)
    # Of the empty coalition, those on the way, and the grand one: what comes before and after i.
    weights = np.zeros((n_players, n_orders, n_players + 1))
    before = orders.places.T[:, :, None]
    np.put_along_axis(weights, before, -1 / n_orders, axis=2)
    np.put_along_axis(weights, before + 1, 1 / n_orders, axis=2)
    of_rows = np.zeros((n_players, len(sample)))
    of_rows[:, orders.rows] = weights[:, :, 1:-1]
    of_ends = weights[:, :, [0, -1]].sum(axis=1)
    return noise_errors(sample.coalitions, of_rows, of_ends, sample.noise_variance)


@dataclass(frozen=True)
class Permutation:
    """Mean marginal contributions over the complete orders of a sample.

    They sum to v(N) - v(empty). Orders of which a coalition is missing, or that the budget ends
    within, are left out. Standard errors come from the spread over orders, an order and its reverse
    being one. It tells how far the mean is from that over all orders, which itself is off by the
    noise of utilities; that is added where replicates have measured it. Of a single order they are
    NaN, unknown.

    Raises:
        ConfigError: the confidence is not between 0 and 1.

    Source: Castro, Gomez & Tejada, "Polynomial calculation of the Shapley value based on
    sampling", 2009; antithetic: Mitchell et al., "Sampling Permutations for Shapley Value
    Estimation", 2022.
    """

    confidence: float

    name: ClassVar[str] = "permutation"
    designs: ClassVar[tuple[str, ...]] = ("permutation",)

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def minimum_coalitions(self, n_players: int) -> int:
        """Return n - 1: those of one order."""
        return n_players - 1

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits.

        Raises:
            LedgerError: no order is complete.
        """
        orders = complete_orders(sample.coalitions)
        if len(orders.rows) == 0:
            raise LedgerError(
                f"estimator=permutation needs an order's {sample.n_players - 1} coalitions, each "
                "one contributor larger than the one before, and finds no such order among "
                f"{len(sample)}; evaluate some with design=permutation, or use "
                "estimator=kernel_shap, which has no need of whole orders."
            )
        contributions = marginal_contributions(sample, orders)
        credits = contributions.mean(axis=0)
        left_out = len(sample) - orders.rows.size
        told = f"{left_out} coalitions of incomplete orders are left out." if left_out else ""
        covariance, n_units = covariance_of_mean(contributions, orders.units)
        if n_units == 1:
            return unknown(credits, sample, self.name, told)
        noise = noise_of_mean(sample, orders)
        if not np.isnan(noise).any():
            covariance = not_below(covariance + shapley_noise_covariance(sample), noise)
        return by_covariance(
            credits, covariance, n_units - 1, sample, self.name, self.confidence, noise, told
        )
