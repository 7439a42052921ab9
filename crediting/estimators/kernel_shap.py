"""Shapley values by constrained least squares over sampled coalitions (KernelSHAP)."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError, LedgerError
from crediting.estimators.exact import exactly
from crediting.estimators.kernel import EQUAL_LOG_WEIGHTS, importance_weights
from crediting.estimators.pairs.differences import has_complement
from crediting.estimators.regression.units import bootstrap_credits, sampling_units
from crediting.estimators.uncertainty import (
    by_resampling,
    check_confidence,
    noise_errors,
    unknown,
)
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, is_proper
from crediting.game.enumeration import is_complete
from crediting.game.game import EvaluatedSample

Floats = NDArray[np.float64]

# Eigenvalues of A below this share of the largest are zeros blurred by rounding.
RANK_TOLERANCE = 1e-12
# A leverage that is this near to 1 is 1 blurred by rounding.
LEVERAGE_TOLERANCE = 1e-9
TOO_FEW = (
    "Its uncertainty is unknown: there are so few coalitions that without one or another of them "
    "the credits would not be determined. Use more coalitions."
)
ALL_EXPLAINED = "The credits explain every utility, so errors cannot be estimated."
UNDETERMINED = (
    "These coalitions do not determine the credits: what they leave open is split equally. Use "
    "more coalitions."
)
FEW, FEW_IN_PAIRS = 20, 10
"""Coalitions per contributor, drawn one by one or with their complements; with fewer, credits of
recorded games were further off than an equal split, squared."""


class Regression(NamedTuple):
    """Proper coalitions (m, n) as 0/1, their gains v(S) - v(empty) (m,), their weights (m,).

    `total` is v(N) - v(empty), what the credits must sum to; `units` (m,) numbers what was drawn at
    once, `rows` (m,) are the places in the sample.
    """

    coalitions: Floats
    gains: Floats
    weights: Floats
    total: float
    units: NDArray[np.int64]
    rows: NDArray[np.int64]


class Fit(NamedTuple):
    """Credits (n,) = gains (m,) @ `by_gain` (m, n) + total * `by_total` (n,).

    They are `determined` if no other credits fit as well.
    """

    credits: Floats
    by_gain: Floats
    by_total: Floats
    determined: bool


def regression(sample: EvaluatedSample) -> Regression:
    """Return the regression behind a sample, its rows in canonical order.

    The empty and the grand coalition are left out: they are the constraints. The canonical order
    makes the outcome independent of the order of evaluation.

    Raises:
        LedgerError: no coalition is left.
    """
    proper = np.flatnonzero(is_proper(sample.coalitions))
    if len(proper) == 0:
        raise LedgerError(
            "kernel_shap needs coalitions between the empty and the grand one, "
            f"got none among {len(sample)}; evaluate some with design=shapley_kernel."
        )
    coalitions, utilities = sample.coalitions[proper], sample.utilities[proper]
    weights = importance_weights(coalitions, sample.log_probabilities[proper])
    order = np.lexsort((utilities, weights, *coalitions.T))
    return Regression(
        coalitions[order].astype(np.float64),
        utilities[order] - sample.v_empty,
        weights[order],
        sample.v_full - sample.v_empty,
        _numbered(sampling_units(coalitions)[order]),
        proper[order],
    )


def _numbered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels (m,) as numbers 0, 1, .. in order of first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def least_squares(data: Regression) -> Fit:
    """Return the credits that sum to the total.

    With A = sum_j w_j x_j x_j^T, b = sum_j w_j x_j (v(S_j) - v(empty)) and an equal split
    e = total / n 1 they are e + (P A P)^+ (b - A e), where P takes the mean off: if A is regular,
    A^-1 (b - 1 (1^T A^-1 b - total) / (1^T A^-1 1)). That the sum is known can determine them even
    if A is singular; if it does not, contributors whom nothing tells apart share equally.

    Source: Covert & Lee, "Improving KernelSHAP", 2021, eq. 7; Lu et al. 2025, eq. 5.
    """
    n_players = data.coalitions.shape[1]
    apart = data.coalitions - data.coalitions.mean(axis=1, keepdims=True)
    weighted = apart * data.weights[:, None]
    eigenvalues, vectors = np.linalg.eigh(apart.T @ weighted)
    seen = eigenvalues > RANK_TOLERANCE * eigenvalues[-1]
    inverse = (vectors[:, seen] / eigenvalues[seen]) @ vectors[:, seen].T
    by_gain = weighted @ inverse
    by_total = 1 / n_players - data.coalitions.mean(axis=1) @ by_gain
    credits = data.gains @ by_gain + data.total * by_total
    return Fit(credits, by_gain, by_total, bool(seen.sum() == n_players - 1))


def unit_influences(data: Regression, fit: Fit) -> Floats:
    """Return what every unit contributes to the credits, (u, n): they less those without it.

    NaN where the credits are not determined without a unit.

    Source: Cook & Weisberg, "Residuals and Influence in Regression", 1982, section 3.6 (deletion of
    several rows).
    """
    residuals = data.gains - data.coalitions @ fit.credits
    ends_of_units = np.cumsum(np.bincount(data.units))[:-1]
    members = np.split(np.argsort(data.units, kind="stable"), ends_of_units)
    influences = np.full((len(members), len(fit.credits)), np.nan)
    for unit, all_rows in enumerate(members):
        rows = all_rows[data.weights[all_rows] > 0]  # the least round to nothing, and add nothing
        root = np.sqrt(data.weights[rows])
        hat = (fit.by_gain[rows] @ data.coalitions[rows].T) * (root / root[:, None])
        leverages, vectors = np.linalg.eigh(hat)
        if leverages.max(initial=0.0) < 1 - LEVERAGE_TOLERANCE:
            within = vectors.T @ (root * residuals[rows])
            without = vectors @ (within / (1 - leverages)) / root
            influences[unit] = without @ fit.by_gain[rows]
    return influences


def noise_of_credits(data: Regression, fit: Fit, sample: EvaluatedSample) -> Floats:
    """Return the standard errors (n,) from the noise of utilities alone; NaN if never measured."""
    if math.isnan(sample.noise_variance):
        return np.full_like(fit.credits, np.nan)
    weights = np.zeros((len(fit.credits), len(sample)))
    weights[:, data.rows] = fit.by_gain.T
    ends = np.column_stack([-weights.sum(axis=1) - fit.by_total, fit.by_total])
    return noise_errors(sample.coalitions, weights, ends, sample.noise_variance)


def is_enumeration(sample: EvaluatedSample) -> bool:
    """Whether a sample has every proper coalition once with equal probability."""
    proper = is_proper(sample.coalitions)
    once = proper.sum() == 2**sample.n_players - 2 and is_complete(sample)
    return once and bool(np.ptp(sample.log_probabilities[proper]) < EQUAL_LOG_WEIGHTS)


@dataclass(frozen=True)
class KernelShap:
    """The estimator of the paper, with standard errors and percentile intervals by bootstrap.

    Coalitions weigh as much as the Shapley kernel against how likely the design has them: all the
    same if it draws from that kernel, as the paper does; the kernel itself if a table of somebody
    else's coalitions says nothing of how they were drawn.

    The bootstrap draws anew what the design drew at once: a coalition and its complement, an order
    of all contributors, or else a single coalition. It measures the error from having evaluated
    only some coalitions and, as far as they do not repeat, the noise of their utilities; not the
    noise of v(N) and v(empty). Where replicates have measured the noise and it alone is more than
    the bootstrap shows, which is so where many repeat, errors and intervals are stretched to it.
    That a design without repeats approaches all coalitions it does not see: intervals then are too
    wide. Once all are there, there is no sampling error.

    Standard errors and interval are NaN, unknown, when what was drawn determines the credits only
    just, not without any one draw; that is so below about two coalitions per contributor.

    Raises:
        ConfigError: the confidence is not between 0 and 1, or there are fewer than 2 resamples.
    """

    confidence: float
    bootstrap: int
    seed: int

    name: ClassVar[str] = "kernel_shap"
    designs: ClassVar[tuple[str, ...]] = (
        *("shapley_kernel", "paired_kernel", "paired_uniform", "stratified", "permutation"),
        *("bernoulli", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)
        if self.bootstrap < 2:
            raise ConfigError(
                "estimator.bootstrap: expected at least 2 resamples, "
                f"got {self.bootstrap}; 1000 is usual."
            )

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 2: what few coalitions leave open is split equally, and said to be."""
        return 2

    def advice(self, coalitions: CoalitionMatrix) -> str | None:
        """Return what to say of so few coalitions (m, n); None if they are not."""
        proper, n = coalitions[is_proper(coalitions)], coalitions.shape[1]
        few = FEW_IN_PAIRS if has_complement(proper).all() else FEW
        enough = min(few * n, 2**n - 2)
        if len(proper) >= enough:
            return None
        said = "do not determine all credits" if len(proper) < n - 1 else "are few"
        return (
            f"{len(proper)} coalitions {said} for {n} contributors: credits may be further off "
            f"than an equal split; use at least {enough}, or estimator=bayesian with "
            "design=paired_uniform"
        )

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits; they sum to v(N) - v(empty) whatever the number of coalitions.

        Raises:
            LedgerError: there is no coalition between the empty and the grand one.
        """
        data = regression(sample)
        fit = least_squares(data)
        noise = noise_of_credits(data, fit, sample)
        if is_enumeration(sample):
            return exactly(fit.credits, sample, self.name, self.confidence)
        if not fit.determined:
            return unknown(fit.credits, sample, self.name, UNDETERMINED, noise)
        influences = unit_influences(data, fit)
        if np.isnan(influences).any():
            return unknown(fit.credits, sample, self.name, TOO_FEW, noise)
        if not (np.any(influences) or sample.noise_variance > 0):
            return unknown(fit.credits, sample, self.name, ALL_EXPLAINED, noise)
        resampled = bootstrap_credits(fit.credits, influences, self.bootstrap, self.seed)
        return by_resampling(fit.credits, resampled, sample, self.name, self.confidence, noise)
