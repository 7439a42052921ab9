"""Shapley values of boosted trees, adjusted by regression on what the trees get wrong.

Trees are fitted to all folds of the observations but one and asked about that one. Their Shapley
values are exact; a ridge regression of what is left of the observations when the trees' held-out
predictions are taken off gives the rest, and tells how far to trust the trees. What remains of a
pair of complements after both belongs to the credits with the weight that the pair has in their
definition, so they are exact once all coalitions are there.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError
from crediting.estimators.exact import exactly
from crediting.estimators.pairs.differences import shapley_weights, weighted_covariance
from crediting.estimators.regression.odd import (
    Observations,
    Ridge,
    best_penalty,
    decompose,
    observe,
    tells_penalties,
)
from crediting.estimators.trees.boosting import Boosting
from crediting.estimators.trees.values import forest_shapley_values
from crediting.estimators.uncertainty import (
    by_covariance,
    check_confidence,
    degrees_with_noise,
    not_below,
    unknown,
)
from crediting.game.attribution import Attribution
from crediting.game.enumeration import is_complete, shapley_values, with_ends
from crediting.game.game import EvaluatedSample

Floats = NDArray[np.float64]

FEWEST_LEFT = 3
"""Observations that the regression must leave over, lest nothing tell how sure it is."""
TOO_FEW = (
    "Its uncertainty is unknown: there are too few coalitions to estimate it. Use 2.5 or more per "
    "contributor."
)
NOISE_SHARE = 0.5
"""Of what stays unexplained of an observation, where replicates have not measured the noise."""


class Trees(NamedTuple):
    """What trees say of observations, all of it times the trust in them.

    `held_out` (u,) are the predictions of those that have not seen the observation, `mean` (u,)
    those of all, `credits` (n,) the Shapley values of the mean less their own mean.
    """

    held_out: Floats
    mean: Floats
    credits: Floats


class Weights(NamedTuple):
    """What credits take from each observation, (n, u): in all, and by its own Shapley weight."""

    used: Floats
    own: Floats


@dataclass(frozen=True)
class RegressionAdjusted:
    """Cross-fitted trees with a regression of their residuals; see the module.

    Standard errors are those of the regression with the trees held fixed, of the coalitions that
    were not evaluated, and of the noise; where replicates have not measured it, half of what stays
    unexplained is taken for noise. With fewer than about 2.5 coalitions per contributor they are
    NaN, unknown: the regression then leaves nothing over that could tell them.

    Args:
        confidence: of the intervals, which are those of a Student distribution.
        folds: into which pairs of complements are divided at random.
        seed: of these folds and of the trees.
        trees: number of them per fold.
        depth: how many contributors a leaf may ask for.
        learning_rate: share of each tree's values that is used.
        smallest_leaf: coalitions that a leaf must hold.

    Raises:
        ConfigError: one of them is out of range.

    Source: Witter et al., "Regression-adjusted Monte Carlo Estimators for Shapley Values and
    Probabilistic Values", 2025; least squares take the place of their Monte Carlo sum over
    residuals, whose weights are too uneven for few coalitions.
    """

    confidence: float
    folds: int
    seed: int
    trees: int
    depth: int
    learning_rate: float
    smallest_leaf: int

    name: ClassVar[str] = "regression_adjusted"
    designs: ClassVar[tuple[str, ...]] = (
        *("paired_uniform", "paired_kernel", "stratified", "shapley_kernel"),
        *("bernoulli", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)
        least = {"folds": 2, "seed": 0, "trees": 1, "depth": 1, "smallest_leaf": 1}
        for key, smallest in least.items():
            if getattr(self, key) < smallest:
                raise ConfigError(
                    f"estimator.{key}: expected {smallest} or more, got {getattr(self, key)}."
                )
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(
                "estimator.learning_rate: expected a number above 0 and at most 1, "
                f"got {self.learning_rate}; 0.1 is usual."
            )

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 2: what is not known is shrunk towards an equal split."""
        return 2

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits; they sum to v(N) - v(empty) whatever the number of coalitions.

        They are the exact Shapley values if every coalition is there.

        Raises:
            LedgerError: there is no coalition between the empty and the grand one.
        """
        data = observe(sample, self.name)
        if is_complete(sample):
            return exactly(shapley_values(with_ends(sample)), sample, self.name, self.confidence)
        ridge = decompose(data)
        trees = self._cross_fit(data, ridge)
        targets = data.targets - trees.held_out
        penalty = best_penalty(ridge, targets)
        weights = _weights(data, ridge, penalty)
        credits = data.total / sample.n_players + trees.credits + weights.used @ targets
        credits += weights.own @ (trees.held_out - trees.mean)
        noise = _noise_errors(data, weights.used, sample.noise_variance)
        if not (tells_penalties(ridge, targets) and _tells_errors(data, ridge, penalty)):
            return unknown(credits, sample, self.name, TOO_FEW, noise)
        variance = _variance(ridge, penalty, targets)
        covariance = _covariance(data, ridge, penalty, weights, variance, 2 * sample.noise_variance)
        covariance = not_below(covariance, noise)
        degrees = degrees_with_noise(len(data.targets), noise**2, covariance, sample.noise_degrees)
        return by_covariance(
            credits, covariance, degrees, sample, self.name, self.confidence, noise
        )

    def _cross_fit(self, data: Observations, ridge: Ridge) -> Trees:
        """Return trees fitted to what a regression on the other folds leaves unexplained."""
        n_observed, n_players = data.signs.shape
        boosting = Boosting(self.trees, self.depth, self.learning_rate, self.smallest_leaf)
        order = np.random.default_rng(self.seed).permutation(n_observed)
        penalty = best_penalty(ridge, data.targets)
        held_out, left_over, mean = np.zeros((3, n_observed))
        credits = np.zeros(n_players)
        n_folds = min(self.folds, n_observed) if n_observed > 1 else 0
        for number in range(n_folds):
            fold = order % self.folds == number
            residuals = ridge.without(penalty, data.targets, fold)
            boosted = boosting.fit(data.signs, residuals, data.weights, ~fold, self.seed)
            held_out[fold], left_over[fold] = boosted.odd[fold], residuals[fold]
            mean += boosted.odd / n_folds
            # The odd part of a forest is the difference of a pair in the game of half that forest.
            credits += forest_shapley_values(boosted.forest, n_players) / (2 * n_folds)
        trust = _slope(held_out, left_over, data.weights)
        return Trees(trust * held_out, trust * mean, trust * (credits - credits.mean()))


def _tells_errors(data: Observations, ridge: Ridge, penalty: float) -> bool:
    """Return whether what the regression leaves over can tell how sure it is.

    It must span all contributors and leave FEWEST_LEFT observations.
    """
    n_observed, n_players = data.signs.shape
    left = n_observed - ridge.basis.shape[1] - float(ridge.kept(penalty).sum())
    return len(ridge.scales) >= n_players - 1 and left >= FEWEST_LEFT


def _slope(predictions: Floats, truths: Floats, weights: Floats) -> float:
    """Return the slope of truths over predictions, at least 0 and at most 1."""
    spread = (weights * predictions**2).sum()
    return float(np.clip((weights * predictions * truths).sum() / spread, 0, 1)) if spread else 0.0


def _weights(data: Observations, ridge: Ridge, penalty: float) -> Weights:
    own = shapley_weights(data.signs)
    own[:, data.lone] = 0  # their residuals hold what is even as well
    spread = own / ridge.roots
    kept = ridge.kept(penalty)
    explained = (spread @ ridge.basis) @ ridge.basis.T
    explained += ((spread @ ridge.left) * kept) @ ridge.left.T
    return Weights(ridge.credit_weights(penalty) + own - explained * ridge.roots, own)


def _variance(ridge: Ridge, penalty: float, targets: Floats) -> float:
    """Return the variance of what stays unexplained of an observation of weight 1."""
    residuals = ridge.left_out(penalty, targets)
    told = residuals[~np.isnan(residuals)]
    return float((told**2).mean()) if len(told) else float(ridge.roots**2 @ targets**2)


def _covariance(
    data: Observations,
    ridge: Ridge,
    penalty: float,
    weights: Weights,
    variance: float,
    noise: float,
) -> Floats:
    """Return the covariance (n, n) of the credits' errors.

    Args:
        data: what was observed.
        ridge: its regression.
        penalty: of that.
        weights: of the observations in the credits.
        variance: of what stays unexplained of an observation of weight 1.
        noise: variance of a pair's difference from training and generating anew; NaN if unknown.
    """
    n_players = data.signs.shape[1]
    each = variance / data.weights
    known = NOISE_SHARE * variance if np.isnan(noise) else noise
    blurred = np.minimum(known * np.where(data.lone, 2, 1), each)
    apart = weights.used - weights.own
    covariance = (apart * (each - blurred)) @ apart.T + (weights.used * blurred) @ weights.used.T
    # What shrinking holds back of credits whose prior variance is that of the ridge, but for what
    # the remainders of evaluated pairs give back.
    passed_on = ridge.right - (weights.own / ridge.roots) @ (ridge.left * ridge.scales)
    held = passed_on * (1 - ridge.kept(penalty))
    prior = variance / penalty if penalty else 0.0
    covariance += prior * held @ held.T
    sizes = np.arange(1, n_players)
    by_size = variance * n_players**2 / (4 * sizes * (n_players - sizes))
    unseen = weighted_covariance(np.maximum(by_size - known, 0))
    covariance += unseen - (weights.own * (each - blurred)) @ weights.own.T
    total = _weights_of_the_total(data, weights.used)
    return covariance + known * np.outer(total, total)


def _weights_of_the_total(data: Observations, used: Floats) -> Floats:
    """Return with what weights (n,) v(N) - v(empty) is in the credits."""
    return 1 / data.signs.shape[1] - used @ data.relative_sizes


def _noise_errors(data: Observations, used: Floats, noise_variance: float) -> Floats:
    """Return standard errors (n,) from noise alone, the trees held fixed; NaN if unknown."""
    squares = used**2 @ np.where(data.lone, 4, 2) + 2 * _weights_of_the_total(data, used) ** 2
    return np.sqrt(noise_variance * squares)
