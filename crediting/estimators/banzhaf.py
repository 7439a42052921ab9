"""Banzhaf values as differences of means, every coalition telling of every contributor."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.estimators.regression.semivalues import (
    Semivalue,
    Weighted,
    banzhaf_log_weights,
    weighted_rows,
)
from crediting.estimators.uncertainty import (
    by_covariance,
    check_confidence,
    noise_errors,
    not_below,
    without_sampling_error,
)
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample
from crediting.game.rows import Floats, Rows

SMALLEST_REMAINDER = 1e-9
"""Of the weight of a mean without one of its rows: below it there is hardly anything but that."""


class Means(NamedTuple):
    """Weighted means of utilities over the rows that are in, per contributor."""

    mean: Floats
    """(n,)"""
    shares: Floats
    """Weights of the rows in each mean, (m, n), summing to 1."""
    moved: Floats
    """By how much leaving out each unit moves the mean, (n_units, n)."""


def means_over(weighted: Weighted, among: Floats) -> Means:
    """Return the means over the rows that are among, 0 or 1, (m, n)."""
    rows = weighted.rows
    shares = weighted.weights[:, None] * among
    shares /= shares.sum(axis=0)
    mean = rows.utilities @ shares
    remaining = np.maximum(1 - rows.by_unit(shares), SMALLEST_REMAINDER)
    moved = -rows.by_unit(shares * (rows.utilities[:, None] - mean)) / remaining
    return Means(mean, shares, moved)


def _check_variety(rows: Rows) -> None:
    """Raise LedgerError if somebody is in, or out of, fewer than two coalitions."""
    inside = rows.coalitions.sum(axis=0)
    fewest = np.minimum(inside, len(rows.coalitions) - inside)
    if fewest.min() < 2:
        raise LedgerError(
            "estimator=banzhaf compares coalitions with and without each contributor, two of each "
            f"at least; contributors number {_numbers(fewest < 2)} have fewer among the "
            f"{len(rows.coalitions)} that differ; evaluate more, with design=bernoulli."
        )


def _numbers(which: NDArray[np.bool_]) -> str:
    return ", ".join(str(player + 1) for player in np.flatnonzero(which))


@dataclass(frozen=True)
class Banzhaf:
    """Mean utility of the coalitions with a contributor, less that of those without.

    In either mean all coalitions weigh equally: those drawn with other probabilities count by
    importance weights that sum to 1, and the grand (or the empty) coalition, whose utility is
    always known, is one of 2^(n-1). The credits need not sum to v(N) - v(empty). If all coalitions
    are there, they are exact; of a recorded game they are differences of means over what was
    recorded. Errors come from leaving out every coalition with its complement.

    Raises:
        ConfigError: the confidence is not between 0 and 1.

    Source: Wang & Jia, "Data Banzhaf: A Robust Data Valuation Framework for Machine Learning",
    2023 (maximum sample reuse).
    """

    confidence: float

    name: ClassVar[str] = "banzhaf"
    estimates: ClassVar[str] = "Banzhaf value"
    designs: ClassVar[tuple[str, ...]] = (
        *("bernoulli", "paired_uniform", "paired_kernel", "stratified"),
        *("shapley_kernel", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def minimum_coalitions(self, n_players: int) -> int:
        """Return n: as many as there are credits."""
        return n_players

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits.

        Raises:
            LedgerError: the coalitions are too unlike those of the value, or somebody is in (or
                out of) fewer than two of them.
        """
        n_players = sample.n_players
        semivalue = Semivalue(banzhaf_log_weights(n_players), self.name, "bernoulli")
        weighted = weighted_rows(sample, semivalue)
        rows, weights, complete = weighted
        members = rows.coalitions.astype(np.float64)
        if not complete:
            _check_variety(rows)
        inside, outside = means_over(weighted, members), means_over(weighted, 1 - members)
        of_end = math.exp(semivalue.log_weights[0])
        of_ends = np.tile([-of_end, of_end], (n_players, 1))
        credits = (1 - of_end) * (inside.mean - outside.mean)
        credits += of_ends @ [sample.v_empty, sample.v_full]
        noise = np.full(n_players, np.nan)
        if not math.isnan(sample.noise_variance):
            of_rows = (1 - of_end) * (inside.shares - outside.shares).T
            noise = noise_errors(rows.coalitions, of_rows, of_ends, sample.noise_variance)
        if complete:
            return without_sampling_error(credits, sample, self.name, self.confidence, noise)
        moved = (1 - of_end) * (inside.moved - outside.moved)
        covariance = (len(moved) - 1) / len(moved) * moved.T @ moved
        covariance = not_below(covariance, noise)
        degrees = weights.sum() ** 2 / (rows.by_unit(weights) ** 2).sum() - 1
        return by_covariance(
            credits, covariance, degrees, sample, self.name, self.confidence, noise
        )
