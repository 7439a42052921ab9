r"""What Banzhaf and Beta Shapley values share: means of what a contributor adds to others.

A semivalue weighs what contributor i adds to a coalition S of s others by a number that depends on
the size only, phi_i = sum_S p_s (v(S + i) - v(S)) with sum_s C(n-1, s) p_s = 1. Written as a sum
over utilities, the proper coalitions enter with p_{s-1} if i is a member and with -p_s if not. For
the semivalues here that is

    (p_{s-1} + p_s) (x_i - (s + b) / c),        x_i = 1 for members and 0 for others,

with constants b and c. So if utilities are fitted by least squares with the weights p_{s-1} + p_s,
on membership and an intercept, what remains is orthogonal to all of that and adds nothing to any
credit: credits are those of the fit. Its weights over the probabilities of a design make that hold
for samples. The empty and the grand coalition, whose utilities are always known, need no fit.
Further functions of size may join it; their semivalues are known, and they take up how utilities
saturate as coalitions grow. None of this makes credits sum to v(N) - v(empty).

Source: Dubey, Neyman & Weber, "Value Theory Without Efficiency", 1981 (semivalues); Ruiz,
Valenciano & Zarzuelo, "The Family of Least Square Values for Transferable Utility Games", 1998
(values by least squares).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from crediting.errors import LedgerError
from crediting.estimators.regression.jackknife import linear_fit
from crediting.estimators.uncertainty import (
    by_covariance,
    noise_errors,
    not_below,
    unknown,
    without_sampling_error,
)
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample
from crediting.game.rows import Floats, Rows, distinct_rows

SIZE_DEGREES = (2, 3)
"""Powers of the relative size t = 2 s / n - 1 in the fit; the first is the sum of memberships."""
DETERMINED = 1e-6
"""Credits that move less than this when a fit goes where the data cannot tell are determined."""


class Semivalue(NamedTuple):
    """How one is weighed: log p_s (n,) of joining s = 0..n-1 others, and what it is called."""

    log_weights: Floats
    name: str
    fitting_design: str
    """Whose coalitions need the least weighting."""


def banzhaf_log_weights(n_players: int) -> Floats:
    """Return log 2^-(n-1), (n,): all coalitions of others count the same."""
    return np.full(n_players, -(n_players - 1) * math.log(2))


def beta_log_weights(n_players: int, alpha: float, beta: float) -> Floats:
    """Return log B(s + beta, n - 1 - s + alpha) / B(alpha, beta), (n,).

    The size of the coalition that is joined is beta-binomial of mean (n - 1) beta/(alpha + beta):
    a large alpha weighs small coalitions, a large beta large ones.

    Source: Kwon & Zou, "Beta Shapley", 2022: their w(j)/n with j = s + 1.
    """
    others = np.arange(n_players)
    return betaln(others + beta, n_players - 1 - others + alpha) - betaln(alpha, beta)


class Weighted(NamedTuple):
    """The distinct proper coalitions of a sample, their weights (m,), and whether all are there."""

    rows: Rows
    weights: Floats
    complete: bool


def weighted_rows(sample: EvaluatedSample, semivalue: Semivalue) -> Weighted:
    """Return the proper coalitions weighed by p_{s-1} + p_s over their probabilities.

    If all are there, each counts once, however often it was drawn.

    Raises:
        LedgerError: they weigh no more than fewer than n equally weighted ones, or are of sizes
            that hardly count.
    """
    n_players = sample.n_players
    rows = distinct_rows(sample, only_proper=True)
    complete = len(rows.utilities) == 2**n_players - 2
    joined = rows.coalitions.sum(axis=1)
    log_p = semivalue.log_weights
    logs = np.logaddexp(log_p[joined - 1], log_p[joined])
    if not complete:
        logs += np.log(rows.counts) - rows.log_probabilities
    weights = np.exp(logs - logs.max(initial=-np.inf))
    effective = weights.sum() ** 2 / (weights**2).sum() if len(weights) else 0.0
    if effective < n_players and not complete:
        raise LedgerError(
            f"estimator={semivalue.name}: the {len(sample)} coalitions tell it as much as "
            f"{effective:.1f} of equal weight would, and it needs {n_players}, one per "
            f"contributor; evaluate more, or with design={semivalue.fitting_design}, which suits "
            "it best."
        )
    _check_sizes(np.unique(joined), n_players, semivalue)
    return Weighted(rows, weights, complete)


def _check_sizes(present: NDArray[np.int64], n_players: int, semivalue: Semivalue) -> None:
    """Raise LedgerError if coalitions are of none of the sizes that a semivalue is made of.

    Weights cannot make up for sizes that were never drawn. Those of the design's first coalitions,
    1 and n - 1, are next to nothing of a Banzhaf value.
    """
    sizes = np.arange(1, n_players)
    log_p = semivalue.log_weights
    log_law = np.logaddexp(log_p[:-1], log_p[1:])
    log_law += gammaln(n_players + 1) - gammaln(sizes + 1) - gammaln(n_players - sizes + 1)
    law = np.exp(log_law - log_law.max())
    law /= law.sum()
    mean = law @ sizes
    deviation = math.sqrt(law @ (sizes - mean) ** 2)
    if law[present - 1].sum() < 0.5 and abs(present - mean).min() > deviation:
        raise LedgerError(
            f"estimator={semivalue.name}: the coalitions are of {_shown(present)} contributors, "
            f"and those of {mean - deviation:.0f} to {mean + deviation:.0f} make up most of what "
            f"it weighs; evaluate more, or with design={semivalue.fitting_design}, which draws "
            "these."
        )


def _shown(sizes: NDArray[np.int64]) -> str:
    return f"{sizes[0]}" if len(sizes) == 1 else f"{', '.join(map(str, sizes[:-1]))} or {sizes[-1]}"


def regression_minimum(n_players: int) -> int:
    """Return the coalitions without which no pairs determine the fit: 2(n + 1), or all proper."""
    return min(2 * (n_players + 1), 2**n_players - 2)


def regression_credits(
    sample: EvaluatedSample, semivalue: Semivalue, confidence: float
) -> Attribution:
    """Return the credits by least squares, their errors by leaving out units; see the module.

    Raises:
        LedgerError: the coalitions do not determine them, or too few weigh anything.
    """
    rows, weights, complete = weighted_rows(sample, semivalue)
    powers = _size_powers(rows)
    fit = linear_fit(rows, np.column_stack([rows.coalitions.astype(np.float64), powers]), weights)
    combination, of_level, of_ends = _credits_of_a_fit(fit.centre, semivalue.log_weights)
    missed = combination - combination @ fit.vectors @ fit.vectors.T
    if abs(missed).max() > DETERMINED:
        raise LedgerError(
            f"estimator={semivalue.name}: {len(sample)} coalitions do not determine the credits "
            f"of {sample.n_players} contributors; increase design.budget."
        )
    credits = combination @ fit.coefficients(0.0) + of_level * fit.level
    credits += of_ends @ [sample.v_empty, sample.v_full]
    noise = np.full(sample.n_players, np.nan)
    if not math.isnan(sample.noise_variance):
        of_rows = fit.utility_weights(0.0, combination, of_level)
        noise = noise_errors(rows.coalitions, of_rows, of_ends, sample.noise_variance)
    if complete:
        return without_sampling_error(credits, sample, semivalue.name, confidence, noise)
    covariance = fit.jackknife(0.0, combination, of_level)
    if np.isnan(covariance).any():
        return unknown(credits, sample, semivalue.name, noise=noise)
    covariance, degrees = not_below(covariance, noise), fit.degrees(0.0)
    return by_covariance(credits, covariance, degrees, sample, semivalue.name, confidence, noise)


def _size_powers(rows: Rows) -> Floats:
    """Return powers of the relative size (m, d), as many as the sizes there can tell apart."""
    sizes = rows.coalitions.sum(axis=1)
    told_apart = len(np.unique(sizes))
    degrees = [degree for degree in SIZE_DEGREES if degree < told_apart]
    relative = 2 * sizes / rows.coalitions.shape[1] - 1
    return relative[:, None] ** degrees


def _credits_of_a_fit(centre: Floats, log_weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what credits are of a fit and of the ends.

    Returns:
        The combination (n, k) of the coefficients, memberships first, then powers of the size; what
        the level adds, (n,); what (v_empty, v_full) add, (n, 2).
    """
    n_players = len(log_weights)
    others = np.arange(n_players)
    log_sets = gammaln(n_players) - gammaln(others + 1) - gammaln(n_players - others)
    joined = np.exp(log_weights + log_sets)  # the law of the size that is joined
    of_empty, of_full = -joined[0], joined[-1]
    relative = 2 * np.arange(1, n_players) / n_players - 1
    degrees = SIZE_DEGREES[: len(centre) - n_players]
    of_powers = (joined[:-1] - joined[1:]) @ relative[:, None] ** degrees
    intercept = -of_empty - of_full
    memberships = np.eye(n_players) - of_full
    combination = np.column_stack([memberships, np.tile(of_powers, (n_players, 1))])
    return (
        combination - intercept * centre,
        np.full(n_players, intercept),
        np.tile([of_empty, of_full], (n_players, 1)),
    )
