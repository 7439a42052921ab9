"""Shapley values by their definition, from every coalition."""

from dataclasses import dataclass
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crediting.estimators.uncertainty import by_covariance, check_confidence, without_sampling_error
from crediting.game.attribution import Attribution
from crediting.game.enumeration import complete_utilities, shapley_values
from crediting.game.game import EvaluatedSample


def shapley_noise_covariance(sample: EvaluatedSample) -> NDArray[np.float64]:
    """Return the covariance (n, n) that the noise of all utilities gives exact Shapley values.

    A coalition enters with its weight in the definition, s of others with 1 / (n C(n-1, s)). The
    values sum to v(N) - v(empty), whose variance is twice that of a utility. NaN if never measured.
    """
    n_players = sample.n_players
    own = sum(2 / (n_players**2 * comb(n_players - 1, s)) for s in range(n_players))
    shared = (2 / n_players - own) / max(n_players - 1, 1)
    return sample.noise_variance * (shared + (own - shared) * np.eye(n_players))


def exactly(
    credits: NDArray[np.float64], sample: EvaluatedSample, name: str, confidence: float
) -> Attribution:
    """Return Shapley values (n,) from all coalitions, whose errors are noise where it is known."""
    covariance = shapley_noise_covariance(sample)
    noise = np.sqrt(np.diag(covariance))
    if np.isnan(noise).any():
        return without_sampling_error(credits, sample, name, confidence, noise)
    return by_covariance(credits, covariance, sample.noise_degrees, sample, name, confidence, noise)


@dataclass(frozen=True)
class Exact:
    """Exact Shapley values; they carry no sampling error.

    Where replicates have measured the noise of utilities, it is their standard error.

    Raises:
        ConfigError: the confidence is not between 0 and 1.
    """

    confidence: float

    name: ClassVar[str] = "exact"
    designs: ClassVar[tuple[str, ...]] = ("exhaustive", "recorded")

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 2^n: all of them."""
        return 2**n_players

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the Shapley values.

        Raises:
            LedgerError: a coalition is missing.
        """
        utilities = complete_utilities(sample.coalitions, sample.utilities)
        return exactly(shapley_values(utilities), sample, self.name, self.confidence)
