"""What is known of Shapley values once differences of pairs are seen, under one prior each."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.estimators.pairs.differences import Pairs, shapley_weights, weighted_covariance
from crediting.estimators.pairs.expectation import (
    CONSTANT,
    Decomposed,
    Growth,
    Prior,
    decomposed,
    expected,
    left_by_size,
    remainder_variance,
)

Floats = NDArray[np.float64]

THIRD_ORDER = (0.3, 1.0, 3.0)
"""Prior variance of all triples that a player is in, against its first-order coefficient's."""
EXPONENTS = {0.0: 0.0, 2.0: 0.0, 4.0: -2.0, 6.0: -4.0}
"""How much more the remainders of very small and very large coalitions vary, with the logarithm of
how likely that is before anything is seen."""
FEW_OF_ANOTHER_SIZE = 3
"""With no more pairs than this nearer to equal halves than the rest, how remainders vary with size
cannot be seen: that all differences are remainders explains them as well as that none is."""
GROWTHS = {
    CONSTANT: 0.0,
    Growth(10.0, (2,)): -3.0,
    Growth(10.0, (2, 8, 32)): -4.0,
    Growth(1000.0, (2, 8, 32)): -4.0,
}
"""What the size of a coalition changes in a player's coefficient, with the logarithm of how likely
that is before anything is seen. Sums of c t^2 + d t^8 + e t^32 come near to utilities that saturate
after a half, an eighth or a thirtieth of the contributors."""
SIGNALS = np.geomspace(0.03, 3e4, 25)
"""Variance of a difference against that of its remainder, for halves of equal size."""
MOST_PAIRS_FOR_THIRD_ORDER = 700
"""Beyond them matrices of pairs by pairs take too long, and triples are left to the remainder."""
SAME_SIZE = 1e-9
"""Relative sizes that are no further apart are equal."""
DETERMINED = 1e-9
"""A pair that leaves less than this of itself to others cannot be predicted from them."""
UNMEASURED_NOISE = 0.5
"""Share of the remainder's variance taken for noise where no replicate has measured it."""


class Candidate(NamedTuple):
    """A prior but for the strength of the signal, and how well each of SIGNALS explains the pairs.

    `scales` are the remainders' variances that go best with them.
    """

    prior: Prior
    log_evidence: Floats
    scales: Floats


class Posterior(NamedTuple):
    """Of the credits: mean (n,), covariance (n, n), their weights (n, p) on the differences.

    `taken` (p,) is what a pair's difference adds to what credits predict of it, having seen it.
    """

    mean: Floats
    covariance: Floats
    weights: Floats
    taken: Floats


def candidates(pairs: Pairs, noise: float, towards: Floats | None) -> list[Candidate]:
    """Return all priors that are averaged over, as judged by the pairs.

    Args:
        pairs: n players, p pairs.
        noise: variance of a difference from training and generating, NaN where it is unknown.
        towards: numbers (n,) that credits may resemble, up to a factor and a constant; or None.
    """
    n_pairs, n = pairs.signs.shape
    third = THIRD_ORDER if n > 2 and n_pairs <= MOST_PAIRS_FOR_THIRD_ORDER else ()
    leanings = [np.zeros(n)]
    if towards is not None and np.ptp(towards) > 0:
        apart = towards - towards.mean()
        leanings.append(apart * n / np.linalg.norm(apart))
    unequal = abs(pairs.relative_sizes)
    nearer = int((unequal < unequal.max() - SAME_SIZE).sum())
    exponents = EXPONENTS if nearer > FEW_OF_ANOTHER_SIZE else (0.0,)
    return [
        candidate
        for share in (0.0, *third)
        for growth in (GROWTHS if n > 2 else (CONSTANT,))
        for leaning in leanings
        for candidate in judged(pairs, noise, Prior(0.0, share, growth, leaning), exponents)
    ]


def judged(
    pairs: Pairs, noise: float, prior: Prior, exponents: Iterable[float]
) -> Iterator[Candidate]:
    """Yield a prior by each exponent, with its evidence; remainders are no less than the noise.

    Plainer priors are likelier beforehand. What the size covariates take up says nothing for or
    against any: next to no prior is next to none in whatever unit.
    Source: Patterson & Thompson, "Recovery of inter-block information when block sizes are
    unequal", 1971 (residual maximum likelihood).
    """
    model = expected(pairs, prior)
    left = max(left_by_size(pairs), 1)
    for exponent in exponents:
        parts = decomposed(pairs, model, exponent)
        standard = centred(pairs) / parts.deviations
        seen = parts.along(standard)
        unexplained = max(float(standard @ standard - seen @ seen), 0.0)
        stretched = 1 + np.outer(SIGNALS / model.variance, parts.values)
        free = ((seen**2 / stretched).sum(axis=1) + unexplained) / left
        scales = np.fmax(free, noise)
        evidence = -left / 2 * (np.log(scales) + free / scales)
        evidence -= np.log(stretched).sum(axis=1) / 2 + np.log(parts.deviations).sum()
        evidence += (len(pairs.differences) - left) / 2 * np.log(SIGNALS / model.variance)
        evidence += EXPONENTS[exponent] + GROWTHS[prior.growth]
        evidence -= math.log(1 + prior.share) / 2
        yield Candidate(prior._replace(exponent=exponent), evidence, scales)


def posterior(
    pairs: Pairs, candidate: Candidate, weights: Floats, noise: float
) -> tuple[Floats, Posterior]:
    """Return the credits less an equal split by each of SIGNALS, (n, g), and their average.

    Args:
        pairs: n players, p pairs.
        candidate: of the prior.
        weights: probabilities (g,) of SIGNALS; they may sum to less than 1, the average then has
            that part of mean, covariance and weights.
        noise: variance of a difference from training and generating, NaN where it is unknown.
    """
    model = expected(pairs, candidate.prior)
    parts = decomposed(pairs, model, candidate.prior.exponent)
    n = pairs.signs.shape[1]
    signals = SIGNALS[:, None] / model.variance
    shrunk = 1 / (1 + signals * parts.values)
    # A credit is what the model says plus the weighted remainders of the evaluated pairs.
    modelled = parts.along(model.cross / parts.deviations)
    own = shapley_weights(pairs.signs) * parts.deviations
    remaining = parts.along(own)
    outside = own - parts.summed(remaining)
    standard = centred(pairs) / parts.deviations
    seen = parts.along(standard)
    means = modelled @ (signals * shrunk * seen).T + remaining @ (shrunk * seen).T
    means += (outside @ standard)[:, None]

    scales = weights * candidate.scales
    by_size = remainder_variance(np.arange(1, n), n, candidate.prior.exponent)
    strength = float(scales @ signals[:, 0])
    covariance = strength * model.prior + scales.sum() * weighted_covariance(by_size)
    crossed = (modelled * (scales @ (signals * shrunk))) @ remaining.T
    covariance -= (modelled * (scales @ (signals**2 * shrunk))) @ modelled.T + crossed + crossed.T
    covariance -= (remaining * (scales @ shrunk)) @ remaining.T + scales.sum() * outside @ outside.T
    covariance += _noise_covariance(
        pairs, UNMEASURED_NOISE * scales.sum() if math.isnan(noise) else noise * weights.sum()
    )
    linear = modelled * (weights @ (signals * shrunk)) + remaining * (weights @ shrunk)
    linear = (parts.summed(linear) + weights.sum() * outside) / parts.deviations
    surprises = _surprises(parts, standard, seen, shrunk, weights)
    taken = (pairs.signs.T * linear).sum(axis=0) * surprises
    return means, Posterior(means @ weights, covariance, linear, taken)


def _surprises(
    parts: Decomposed, standard: Floats, seen: Floats, shrunk: Floats, weights: Floats
) -> Floats:
    """Return by how much a pair misses what all others make of it, (p,), the mean over SIGNALS.

    A pair that no other tells anything about surprises nobody.
    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, equation 5.12.
    """
    likely = np.flatnonzero(weights)
    kept = 1 - shrunk[likely]
    residuals = standard[:, None] - parts.summed(kept * seen).T
    left = 1 - parts.leverages(kept)
    told = np.where(left > DETERMINED, residuals / np.fmax(left, DETERMINED), 0)
    return parts.deviations * (told @ weights[likely]) / weights.sum()


def _noise_covariance(pairs: Pairs, variance: float) -> Floats:
    """Return what noise of the pairs as they enter the definition adds to the credits' errors."""
    n = pairs.signs.shape[1]
    own = shapley_weights(pairs.signs)
    return variance * (own @ own.T + 1 / n**2)


def centred(pairs: Pairs) -> Floats:
    """Return the differences less what an equal split of the total would make of them, (p,)."""
    return pairs.differences - pairs.total * pairs.relative_sizes
