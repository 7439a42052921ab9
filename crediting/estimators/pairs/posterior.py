"""What is known of Shapley values once differences of pairs are seen, under one prior each."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.estimators.pairs.differences import Pairs, shapley_weights, weighted_covariance
from crediting.estimators.pairs.expectation import (
    Expected,
    Prior,
    decomposed,
    expected,
)
from crediting.estimators.pairs.growth import CONSTANT, Growth, Remainder, saturating

Floats = NDArray[np.float64]

THIRD_ORDER = (0.3, 1.0, 3.0)
"""Prior variance of all triples that a player is in, against its first-order coefficient's."""
ALIKE = Remainder(0.0)
REMAINDERS = {ALIKE: 0.0, Remainder(2.0): 0.0, Remainder(4.0): -2.0, Remainder(6.0): -4.0}
"""How much more the remainders of very small and very large coalitions vary, with the logarithm of
how likely that is before anything is seen."""
EXCESSES = np.geomspace(1e2, 1e8, 7)
"""Where utilities saturate, remainders are of second order in what members weigh together, besides
what all have alike: so many times as much, if few members were as unlike as many are."""
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
RATES = np.geomspace(4, 128, 11)
"""Of utilities that saturate in what contributors bring together, after 1 / rate of all."""
DEPARTURES = (0.1, 1.0)
"""Variance by which, besides, a coefficient changes with t^2 by itself, against the coefficient's
own. With none, pairs of middling size, which are many, decided how coefficients grow at the ends,
where nearly all of a credit comes from: errors grew with the number of pairs."""
SATURATED = -7.0
"""Logarithm of how likely any of these is before anything is seen."""
STEEPEST = 2.0
"""Rates are at most so many times the number of players, where a single one nearly suffices."""
HOPELESS = 30.0
"""Along rates, exponents and excesses evidence rises and falls once; where it has fallen by so
much, the rest is not tried."""
SIGNALS = np.geomspace(0.03, 3e4, 25)
"""Variance of a difference against that of its remainder, for halves of equal size; for single
contributors where utilities saturate, and halves do not tell contributors apart."""
MOST_PAIRS_FOR_THIRD_ORDER = 700
"""Beyond them matrices of pairs by pairs take too long, and triples are left to the remainder."""
ROUNDING = 1e-12
"""Remainders are no less than this share of what utilities differ by: size can explain them all."""
SAME_SIZE = 1e-9
"""Relative sizes that are no further apart are equal."""
UNMEASURED_NOISE = 0.5
"""Share of the remainder's variance taken for noise where no replicate has measured it."""


class Candidate(NamedTuple):
    """A prior but for the strength of the signal, and how well each of SIGNALS explains the pairs.

    `scales` are the remainders' variances that go best with them.
    """

    prior: Prior
    log_evidence: Floats
    scales: Floats

    @property
    def highest(self) -> float:
        """The greatest evidence."""
        return float(self.log_evidence.max())


class Posterior(NamedTuple):
    """Of the credits: mean (n,), covariance (n, n), their weights (n, p) on the differences."""

    mean: Floats
    covariance: Floats
    weights: Floats


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
    remainders = REMAINDERS if nearer > FEW_OF_ANOTHER_SIZE else (ALIKE,)
    found = [
        candidate
        for share in (0.0, *third)
        for growth in (GROWTHS if n > 2 else (CONSTANT,))
        for leaning in leanings
        for candidate in _hopeful(
            judged(pairs, noise, Prior(ALIKE, share, growth, leaning), remainders)
        )
    ]
    if n > 2 and len(remainders) > 1:
        found += (one for leaning in leanings for one in _saturated(pairs, noise, leaning))
    return found


def _saturated(pairs: Pairs, noise: float, leaning: Floats) -> Iterator[Candidate]:
    """Yield priors of utilities that saturate, but for hopeless ones."""
    best = -math.inf
    for rate in RATES[STEEPEST * pairs.signs.shape[1] >= RATES].tolist():
        excesses = [Remainder(-2.0, float(excess), rate) for excess in EXCESSES]
        priors = [Prior(ALIKE, 0.0, Growth(share, (2,), rate), leaning) for share in DEPARTURES]
        tried = [
            candidate
            for prior in priors
            for candidate in _hopeful(judged(pairs, noise, prior, (ALIKE, *excesses)))
        ]
        yield from tried
        highest = max(candidate.highest for candidate in tried)
        if highest < best - HOPELESS:
            return
        best = max(best, highest)


def _hopeful(judged: Iterator[Candidate]) -> Iterator[Candidate]:
    """Yield priors by ever more unlike remainders, as long as there is hope."""
    best = -math.inf
    for candidate in judged:
        yield candidate
        if candidate.highest < best - HOPELESS:
            return
        best = max(best, candidate.highest)


def judged(
    pairs: Pairs, noise: float, prior: Prior, remainders: Iterable[Remainder]
) -> Iterator[Candidate]:
    """Yield a prior by each kind of remainder, with its evidence; none is less than the noise.

    Plainer priors are likelier beforehand. What size effects take up says nothing for or against
    any, in whatever unit.
    Source: Patterson & Thompson, "Recovery of inter-block information when block sizes are
    unequal", 1971 (residual maximum likelihood).
    """
    model = expected(pairs, prior)
    left = len(pairs.differences) - model.size_effects.shape[1]
    blurred = ROUNDING * max(abs(pairs.differences).max(), abs(pairs.total))
    least = np.fmax(noise, blurred**2)
    for remainder in remainders:
        found = prior._replace(remainder=remainder)
        parts = decomposed(pairs, model, remainder)
        standard = parts.without_size(centred(pairs) / parts.deviations)
        seen = parts.along(standard)
        unexplained = max(float(standard @ standard - seen @ seen), 0.0)
        stretched = 1 + np.outer(_signals(model, found), parts.values)
        free = ((seen**2 / stretched).sum(axis=1) + unexplained) / left
        scales = np.fmax(free, least)
        evidence = -left / 2 * (np.log(scales) + free / scales) - parts.log_volume
        evidence -= np.log(stretched).sum(axis=1) / 2 + np.log(parts.deviations).sum()
        evidence += REMAINDERS.get(remainder, 0.0) + GROWTHS.get(prior.growth, SATURATED)
        evidence -= math.log(1 + prior.share) / 2
        yield Candidate(found, evidence, scales)


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
    remainder = candidate.prior.remainder
    parts = decomposed(pairs, model, remainder)
    n = pairs.signs.shape[1]
    signals = _signals(model, candidate.prior)[:, None]
    shrunk = 1 / (1 + signals * parts.values)
    # A credit is what the model says plus the weighted remainders of the evaluated pairs.
    modelled = parts.along(parts.without_size(model.cross / parts.deviations))
    own = parts.without_size(shapley_weights(pairs.signs) * parts.deviations)
    remaining = parts.along(own)
    outside = own - parts.summed(remaining)
    standard = parts.without_size(centred(pairs) / parts.deviations)
    seen = parts.along(standard)
    means = modelled @ (signals * shrunk * seen).T + remaining @ (shrunk * seen).T
    means += (outside @ standard)[:, None]

    scales = weights * candidate.scales
    by_size = remainder.variance(np.arange(1, n), n)
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
    return means, Posterior(means @ weights, covariance, linear)


def _signals(model: Expected, prior: Prior) -> Floats:
    """Return SIGNALS as variances of a first-order coefficient, for remainders that vary by 1."""
    n, rate = len(model.prior), prior.growth.rate
    if not rate:
        return SIGNALS / model.variance
    grown = float(saturating(np.array(1 - 2 / n), rate))
    return SIGNALS / (n * grown**2) * prior.remainder.variance(np.array([1]), n)


def _noise_covariance(pairs: Pairs, variance: float) -> Floats:
    """Return what noise of the pairs as they enter the definition adds to the credits' errors."""
    n = pairs.signs.shape[1]
    own = shapley_weights(pairs.signs)
    return variance * (own @ own.T + 1 / n**2)


def centred(pairs: Pairs) -> Floats:
    """Return the differences less what an equal split of the total would make of them, (p,)."""
    return pairs.differences - pairs.total * pairs.relative_sizes
