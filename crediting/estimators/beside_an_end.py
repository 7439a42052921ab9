"""Credits from nobody, or everybody, and the n coalitions that differ by one contributor."""

import math

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.estimators.uncertainty import by_covariance, unknown
from crediting.game.attribution import Attribution
from crediting.game.coalition import Coalition, CoalitionMatrix
from crediting.game.game import EvaluatedSample

Floats = NDArray[np.float64]

MOST_SPELT_OUT = 3


def require_beside(end: Coalition, coalitions: CoalitionMatrix, name: str) -> None:
    """Check that coalitions (m, n) hold all n that differ from an end by one contributor.

    Args:
        end: the empty or the grand coalition.
        coalitions: in any order, with any others.
        name: of the estimator and of the design that has just these coalitions.

    Raises:
        LedgerError: one of these coalitions is missing.
    """
    n_players = len(end)
    missing = np.flatnonzero(_counts(end, coalitions) == 0)
    if len(missing):
        which = "everybody but" if end.all() else "only"
        numbers = ", ".join(str(player + 1) for player in missing[:MOST_SPELT_OUT])
        raise LedgerError(
            f"estimator={name} needs the {n_players} coalitions of design={name}, {len(missing)} "
            f"of them are missing, for instance {which} contributor number {numbers}; evaluate "
            "them with that design, or have them and others with design=paired_uniform "
            "design.ends=true and a "
            f"design.budget of at least {2 * n_players}."
        )


def utilities_beside(end: Coalition, sample: EvaluatedSample, name: str) -> Floats:
    """Return the utility of the coalition that differs from an end by each contributor, (n,).

    A coalition that occurs more than once gets its mean utility. Arguments and errors are those of
    `require_beside`; other coalitions of the sample are not used.
    """
    require_beside(end, sample.coalitions, name)
    differs = sample.coalitions != end
    rows = np.flatnonzero(differs.sum(axis=1) == 1)
    players = np.argmax(differs[rows], axis=1)
    sums = np.bincount(players, weights=sample.utilities[rows], minlength=len(end))
    return sums / _counts(end, sample.coalitions)


def by_differences(
    credits: Floats, sample: EvaluatedSample, name: str, confidence: float
) -> Attribution:
    """Return credits (n,) that are each a difference of two utilities, one of which they share.

    All coalitions in question were evaluated: their only error is the noise of both utilities.
    """
    variance = sample.noise_variance
    if math.isnan(variance):
        return unknown(credits, sample, name)
    covariance = variance * (1 + np.eye(len(credits)))
    noise = np.sqrt(np.diag(covariance))
    return by_covariance(credits, covariance, sample.noise_degrees, sample, name, confidence, noise)


def _counts(end: Coalition, coalitions: CoalitionMatrix) -> NDArray[np.int64]:
    """Return how often the coalition that differs from an end by each contributor occurs, (n,)."""
    differs = coalitions != end
    return differs[differs.sum(axis=1) == 1].sum(axis=0)
