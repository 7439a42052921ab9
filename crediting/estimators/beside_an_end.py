"""Credits from nobody, or everybody, and the n coalitions that differ by one contributor."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crediting.errors import LedgerError
from crediting.estimators.uncertainty import by_covariance, check_confidence, unknown
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, ends
from crediting.game.game import EvaluatedSample

MOST_SPELT_OUT = 3


@dataclass(frozen=True)
class BesideAnEnd:
    """Credits that are each a difference of two utilities, one of which, that of an end, all share.

    Their only error is the noise of training and generating. Standard errors and interval are NaN,
    unknown, unless replicates have measured it.

    Raises:
        ConfigError: the confidence is not between 0 and 1.
    """

    confidence: float

    name: ClassVar[str]
    """Of the estimator, and of the design that has just these n coalitions."""
    at_everybody: ClassVar[bool]
    """Whether the end is the grand coalition; else it is the empty one."""

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def minimum_coalitions(self, n_players: int) -> int:
        """Return n: one for every contributor."""
        return n_players

    def require(self, coalitions: CoalitionMatrix) -> None:
        """Check that coalitions (m, n) hold those n, in any order, with any others.

        Raises:
            LedgerError: one of them is missing.
        """
        n_players = coalitions.shape[1]
        differs = coalitions != ends(n_players)[int(self.at_everybody)]
        missing = np.flatnonzero(~differs[differs.sum(axis=1) == 1].any(axis=0))
        if len(missing):
            which = "everybody but" if self.at_everybody else "only"
            numbers = ", ".join(str(player + 1) for player in missing[:MOST_SPELT_OUT])
            raise LedgerError(
                f"estimator={self.name} needs the {n_players} coalitions of design={self.name}, "
                f"{len(missing)} of them are missing, for instance {which} contributor number "
                f"{numbers}; evaluate them with that design, or have them and others with "
                "design=paired_uniform design.ends=true and a "
                f"design.budget of at least {3 * n_players}."
            )

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits; a coalition that occurs more than once counts with its mean utility.

        Raises:
            LedgerError: a coalition that differs from the end by one contributor is missing.
        """
        self.require(sample.coalitions)
        differs = sample.coalitions != ends(sample.n_players)[int(self.at_everybody)]
        rows = np.flatnonzero(differs.sum(axis=1) == 1)
        players = np.argmax(differs[rows], axis=1)
        beside = np.bincount(players, weights=sample.utilities[rows]) / np.bincount(players)
        credits = sample.v_full - beside if self.at_everybody else beside - sample.v_empty
        variance, degrees = sample.noise_variance, sample.noise_degrees
        if math.isnan(variance):
            return unknown(credits, sample, self.name)
        covariance = variance * (1 + np.eye(len(credits)))
        noise = np.sqrt(np.diag(covariance))
        return by_covariance(
            credits, covariance, degrees, sample, self.name, self.confidence, noise
        )
