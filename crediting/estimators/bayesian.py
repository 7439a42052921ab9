r"""Shapley values by Bayesian regression on pairs of complementary coalitions.

What is expected of the differences is told in `pairs.expectation`. What is asked for are the
Shapley values of the game as it was evaluated: what the regression leaves unexplained of an
evaluated pair belongs to them with the weight that the pair has in their definition, and only that
of the pairs that were not evaluated remains uncertain. So the credits become exact as the pairs
become complete. How strong credits are against the remainder, third order against first, how much
more the smallest and largest coalitions vary, and how soon utilities saturate, is averaged over by
how well it explains the differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError
from crediting.estimators.exact import exactly
from crediting.estimators.pairs.differences import Pairs, complementary_pairs, has_complement
from crediting.estimators.pairs.expectation import left_by_size
from crediting.estimators.pairs.posterior import (
    SIGNALS,
    Posterior,
    candidates,
    centred,
    posterior,
)
from crediting.estimators.uncertainty import (
    by_covariance,
    check_confidence,
    degrees_with_noise,
    unknown,
)
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, is_proper
from crediting.game.enumeration import shapley_values, with_ends
from crediting.game.game import EvaluatedSample

Floats = NDArray[np.float64]

FITTED = 1
"""Numbers besides the credits and the covariates of size that are fitted to the differences: the
strength of the signal. So many pairs tell nothing of what is left unexplained."""
FEW = 3
"""Coalitions per contributor. With fewer, credits of recorded games were at times further off than
an equal split, and far off wherever all were single contributors and everybody else."""
ALL_ALIKE = "An equal split explains every difference, so errors cannot be estimated."
ALL_SIZE = (
    "Their sizes explain what so few pairs of coalitions tell, so errors cannot be estimated: use "
    "more coalitions that come with their complements."
)
EXAMPLES = "examples"
"""What to lean towards, in a word: how many examples each contributor brought."""
NEGLIGIBLE = 1e-4
"""Priors with less than this posterior probability are left out of the average."""


@dataclass(frozen=True)
class Bayesian:
    """Posterior mean and credible intervals of the Shapley values; see the module.

    Intervals are of the game as it was evaluated if replicates have measured the noise to be
    little, and cover that noise otherwise; unmeasured, half of what the model leaves unexplained is
    taken for noise.

    Args:
        confidence: of the intervals, which are those of a Student distribution.
        signal: what the variance of a difference of two complementary coalitions is expected to
            be, against that of its remainder, before anything is seen: the median of a log-normal.
        signal_spread: standard deviation of its logarithm.
        towards: numbers, one per contributor in their order, that credits may resemble up to a
            factor and a constant, such as a cheap proxy's credits, or "examples" for how many each
            brought; how much they do is learnt. None shrinks towards an equal split alone.

    Raises:
        ConfigError: one of them is out of range.
    """

    confidence: float
    signal: float
    signal_spread: float
    towards: Sequence[float] | str | None

    name: ClassVar[str] = "bayesian"
    designs: ClassVar[tuple[str, ...]] = (
        *("paired_uniform", "paired_kernel", "stratified", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)
        for key in ("signal", "signal_spread"):
            if not getattr(self, key) > 0:
                raise ConfigError(
                    f"estimator.{key}: expected a positive number, got {getattr(self, key)}."
                )
        _check_numbers(self.towards)

    def require(self, coalitions: CoalitionMatrix) -> None:
        """Raise ConfigError if no coalition (m, n) has its complement, or a leaning lacks numbers.

        There must be one to lean towards for every contributor.
        """
        self._check_length(coalitions.shape[1])
        if not has_complement(coalitions).any():
            raise ConfigError(
                f"estimator={self.name} compares coalitions with their complements, and none of "
                f"these {len(coalitions)} has its own; take design=paired_uniform (in a recorded "
                "table, add complements), or another estimator, such as kernel_shap"
            )

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 2: what is not known is shrunk towards an equal split."""
        return 2

    def advice(self, coalitions: CoalitionMatrix) -> str | None:
        """Return what to say of so few coalitions (m, n); None if they are not."""
        n = coalitions.shape[1]
        m = int(has_complement(coalitions).sum())
        enough = min(FEW * n, 2**n - 2)
        if m >= enough:
            return _unpaired(coalitions) or None
        few = (
            f"{m} coalitions are few for {n} contributors: credits may be further off than an "
            f"equal split; use at least {enough}"
        )
        return f"{few}. {_unpaired(coalitions)}".removesuffix(". ")

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits; they sum to v(N) - v(empty) whatever the number of coalitions.

        If every coalition is there, they are the exact Shapley values of what was evaluated.

        Raises:
            LedgerError: no coalition is there with its complement.
            ConfigError: there are not as many numbers to lean towards as contributors, or nobody
                knows how many examples they brought.
        """
        pairs = complementary_pairs(sample, self.name)
        n_pairs, n = pairs.signs.shape
        if n_pairs == 2 ** (n - 1) - 1:
            credits = shapley_values(with_ends(sample))
            return exactly(credits, sample, self.name, self.confidence)
        if not (np.any(centred(pairs)) or sample.noise_variance > 0):
            return unknown(np.full(n, pairs.total / n), sample, self.name, ALL_ALIKE)
        left = left_by_size(pairs)
        if left < 1:
            return unknown(np.full(n, pairs.total / n), sample, self.name, ALL_SIZE)
        found, leant = self._average(pairs, 2 * sample.noise_variance, self._leaning(sample))
        degrees = max(left - FITTED, 1)
        found = found._replace(covariance=found.covariance * (left / degrees))
        of_the_total = 1 / n - found.weights @ pairs.relative_sizes
        noise = 2 * sample.noise_variance * ((found.weights**2).sum(axis=1) + of_the_total**2)
        # Shrinkage can make a credit's whole error less than what noise alone would do unshrunk.
        noise = np.minimum(noise, np.diag(found.covariance))
        return by_covariance(
            pairs.total / n + found.mean,
            found.covariance,
            degrees_with_noise(degrees, noise, found.covariance, sample.noise_degrees),
            sample,
            self.name,
            self.confidence,
            np.sqrt(noise),
            f"{self._told(leant)} {_unpaired(sample.coalitions)}".strip(),
        )

    def _leaning(self, sample: EvaluatedSample) -> Floats | None:
        """Return the numbers (n,) that credits may resemble, if there are any."""
        if self.towards is None:
            return None
        if not isinstance(self.towards, str):
            self._check_length(sample.n_players)
            return np.array(self.towards, dtype=np.float64)
        if sample.examples is None:
            raise ConfigError(
                f"estimator.towards={EXAMPLES}: how many examples contributors brought is not "
                "recorded; give a number for every contributor instead."
            )
        return sample.examples.astype(np.float64)

    def _check_length(self, n_players: int) -> None:
        towards = self.towards
        if not (towards is None or isinstance(towards, str) or len(towards) == n_players):
            raise ConfigError(
                f"estimator.towards: expected {n_players} numbers, one for every contributor, "
                f"got {len(towards)}."
            )

    def _told(self, leant: float) -> str:
        """Say how probable it is that credits lean; "" if there is nothing to lean towards."""
        if self.towards is None:
            return ""
        numbers = "numbers of examples" if isinstance(self.towards, str) else "given numbers"
        return f"Credits lean towards the {numbers} with probability {leant:.2f}."

    def _average(
        self, pairs: Pairs, noise: float, leaning: Floats | None
    ) -> tuple[Posterior, float]:
        """Return the posterior over all priors, each as likely as it explains the differences.

        With it comes how probable are those by which credits lean.
        """
        judged = candidates(pairs, noise, leaning)
        expected = -0.5 * (np.log(SIGNALS / self.signal) / self.signal_spread) ** 2
        evidence = np.array([candidate.log_evidence + expected for candidate in judged])
        weights = np.exp(evidence - evidence.max())
        weights /= weights.sum()
        weights[weights < NEGLIGIBLE * weights.max()] = 0
        weights /= weights.sum()
        likely = np.flatnonzero(weights.any(axis=1))
        found = [posterior(pairs, judged[at], weights[at], noise) for at in likely]
        mean = np.sum([part.mean for _, part in found], axis=0)
        covariance = np.sum([part.covariance for _, part in found], axis=0)
        for (means, _), at in zip(found, likely, strict=True):
            apart = means - mean[:, None]
            covariance += (apart * weights[at]) @ apart.T
        weights_of_pairs = np.sum([part.weights for _, part in found], axis=0)
        leant = weights[[candidate.prior.leaning.any() for candidate in judged]].sum()
        return Posterior(mean, covariance, weights_of_pairs), float(leant)


def _check_numbers(towards: Sequence[float] | str | None) -> None:
    if isinstance(towards, str):
        if towards != EXAMPLES:
            raise ConfigError(
                "estimator.towards: expected numbers, one for every contributor, or the word "
                f"{EXAMPLES}, got {towards!r}."
            )
        return
    for number in () if towards is None else towards:
        if isinstance(number, bool) or not isinstance(number, Real):
            raise ConfigError(f"estimator.towards: expected numbers, got {number!r}.")


def _unpaired(coalitions: CoalitionMatrix) -> str:
    """Say how many coalitions (m, n) are not used; "" if all are."""
    proper = is_proper(coalitions)
    alone = int((proper & ~has_complement(coalitions)).sum())
    if not alone:
        return ""
    return f"{alone} of {proper.sum()} coalitions are without their complements, and are not used."
