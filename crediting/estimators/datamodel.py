"""What joining does to utility, by ridge regression of utilities on membership."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from crediting.errors import ConfigError, LedgerError
from crediting.estimators.regression.jackknife import LinearFit, linear_fit
from crediting.estimators.uncertainty import (
    by_covariance,
    check_confidence,
    noise_errors,
    not_below,
    without_sampling_error,
)
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample
from crediting.game.rows import Floats, Rows, distinct_rows

EQUAL_ERRORS = 1e-9
"""Errors that are no further apart than this share of the least differ by rounding only."""
ONE_SIZE = (
    "Coalitions of one size tell contributors apart, but not what all of them add: "
    "the credits sum to zero."
)


def is_complete(rows: Rows) -> bool:
    """Whether all coalitions are there, or all of the one size that occurs."""
    n_rows, n_players = rows.coalitions.shape
    sizes = np.unique(rows.coalitions.sum(axis=1))
    return n_rows == 2**n_players or (len(sizes) == 1 and n_rows == math.comb(n_players, sizes[0]))


class Penalties(NamedTuple):
    """The settings (p,), how credible each is, (p,), summing to 1, and the most credible one."""

    settings: Floats
    credible: Floats
    best: float


def weigh_penalties(fit: LinearFit, penalties: Sequence[float]) -> Penalties:
    """Return the penalties with how well fits without a unit predict it.

    For normal errors of unknown variance, likelihoods are powers of their mean square. Of penalties
    that do equally well the most credible is the smallest, which changes least.

    Raises:
        LedgerError: no unit can be left out.
    """
    settings = np.array(penalties, dtype=np.float64)
    errors = (fit.left_out(settings) ** 2).sum(axis=0)
    if np.isnan(errors).all():
        raise LedgerError(
            "estimator=datamodel: the coalitions are too few to choose a penalty by leaving out "
            "each with its complement; increase design.budget."
        )
    least = np.nanmin(errors)
    relative = np.divide(least, errors, out=np.ones_like(errors), where=errors > least)
    credible = relative ** (fit.rows.n_units / 2) * ~np.isnan(errors)
    best = settings[errors <= (1 + EQUAL_ERRORS) * least].min()
    return Penalties(settings, credible / credible.sum(), float(best))


def covariance_of_error(fit: LinearFit, penalties: Penalties) -> Floats:
    """Return the covariance (n, n) of the coefficients' errors at the best penalty.

    It is what leaving out units tells at that penalty; what penalties hold back, by which they
    suppose coefficients to vary about zero with the variance of the residuals over the penalty; and
    how coefficients move between penalties, all as credible as they are. The variance of the
    residuals is such that they alone explain, in total, what leaving out units tells.

    Source: Nychka, "Bayesian Confidence Intervals for Smoothing Splines", 1988 (why such intervals
    hold on average over coefficients).
    """
    settings, credible, best = penalties
    n_players = len(fit.centre)
    sampled = fit.jackknife(best, np.eye(n_players), np.zeros(n_players))
    told = fit.values / (fit.values + best) ** 2
    posterior = (credible / (fit.values[:, None] + settings)).sum(axis=1)
    unseen = (credible / settings).sum()
    held_back = (fit.vectors * (np.maximum(posterior - told, 0) - unseen)) @ fit.vectors.T
    held_back += unseen * np.eye(n_players)
    if np.ptp(fit.rows.coalitions.sum(axis=1)) == 0:
        held_back -= unseen / n_players  # nothing is said of the sum of the credits
    moved = np.array([fit.coefficients(penalty) for penalty in settings]) - fit.coefficients(best)
    between = (moved.T * credible) @ moved
    return sampled + np.trace(sampled) / told.sum() * held_back + between


@dataclass(frozen=True)
class Datamodel:
    """Coefficients of membership in a ridge regression of utilities, with an intercept.

    They tell what joining does to the utility of coalitions such as those drawn, all of which
    weigh the same, and need not sum to v(N) - v(empty). Coalitions of one size, as the datamodel
    score has them, only tell the contributors apart: then the credits sum to zero.

    Errors come from leaving out every coalition with its complement at the chosen penalty, and from
    what that penalty holds back or another would change; where noise drowns most credits, intervals
    of 95 % held 86 % to 90 % in simulations. They are zero if all coalitions, or all of a size, are
    there.

    Args:
        penalties: of the sum of squared coefficients against that of the residuals, as of `Ridge`
            in scikit-learn. The one is chosen by which fits without a coalition and its complement
            predict these best; one alone is taken as it is.
        confidence: of the intervals.

    Raises:
        ConfigError: the confidence is not between 0 and 1, or a penalty is not positive.

    Source: Ilyas, Park, Engstrom, Leclerc & Madry, "Datamodels: Predicting Predictions from
    Training Data", 2022 (with an l1 penalty).
    """

    penalties: Sequence[float]
    confidence: float

    name: ClassVar[str] = "datamodel"
    estimates: ClassVar[str] = "datamodel weight"
    designs: ClassVar[tuple[str, ...]] = (
        *("fixed_size", "bernoulli", "paired_uniform", "paired_kernel"),
        *("shapley_kernel", "stratified", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)
        if not self.penalties or not all(0 < penalty < math.inf for penalty in self.penalties):
            raise ConfigError(
                "estimator.penalties: expected one or more positive numbers, "
                f"got {list(self.penalties)}; the best of [0.1,1,10,100] is often good."
            )

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 3: one to leave out, with its complement, and one to learn from."""
        return 3

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits.

        Raises:
            LedgerError: the coalitions are too few to choose a penalty.
        """
        n_players = sample.n_players
        rows = distinct_rows(sample)
        fit = linear_fit(rows, rows.coalitions.astype(np.float64), rows.counts)
        penalties = weigh_penalties(fit, self.penalties)
        penalty = penalties.best
        credits = fit.coefficients(penalty)
        noise = np.full(n_players, np.nan)
        if not math.isnan(sample.noise_variance):
            of_rows = fit.utility_weights(penalty, np.eye(n_players), np.zeros(n_players))
            of_ends = np.zeros((n_players, 2))
            noise = noise_errors(rows.coalitions, of_rows, of_ends, sample.noise_variance)
        one_size = np.ptp(rows.coalitions.sum(axis=1)) == 0
        explanation = ONE_SIZE if one_size else ""
        if is_complete(rows):
            return without_sampling_error(
                credits, sample, self.name, self.confidence, noise, explanation
            )
        return by_covariance(
            credits,
            not_below(covariance_of_error(fit, penalties), noise),
            fit.degrees(penalty),
            sample,
            self.name,
            self.confidence,
            noise,
            explanation,
        )
