"""Pairs of complementary coalitions: what their differences say about Shapley values.

v(S) - v(N without S) holds all of a game that Shapley values depend on: what is even in the signs
of membership, such as all interactions of two contributors, cancels in it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from crediting.errors import LedgerError
from crediting.estimators.kernel import importance_weights
from crediting.game.coalition import CoalitionMatrix, is_proper
from crediting.game.game import EvaluatedSample
from crediting.game.rows import Rows, distinct_rows

Floats = NDArray[np.float64]


class Pairs(NamedTuple):
    """Distinct pairs, each told by its half with player 0.

    `signs` (p, n) are 1 for the members of that half and -1 for the others, `differences` (p,) are
    v(S) - v(N without S), `weights` (p,) the Shapley kernel over a pair's probability to be there,
    `total` is v(N) - v(empty).
    """

    signs: Floats
    differences: Floats
    weights: Floats
    total: float

    @property
    def relative_sizes(self) -> Floats:
        """The mean of the signs, (p,): -1 for nobody, 1 for everybody."""
        return self.signs.mean(axis=1)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The members of the halves, (p,)."""
        return (self.signs > 0).sum(axis=1)

    @property
    def at_ends(self) -> NDArray[np.bool_]:
        """Which are of one contributor and everybody else, (p,)."""
        return np.minimum(self.sizes, self.signs.shape[1] - self.sizes) == 1

    @property
    def always_there(self) -> NDArray[np.bool_]:
        """Which are those at the ends, if these are all there as designs ask for, (p,)."""
        return self.at_ends & (self.at_ends.sum() == self.signs.shape[1])

    def of(self, which: NDArray[np.bool_]) -> "Pairs":
        """Return some of them, told by a mask (p,)."""
        return Pairs(self.signs[which], self.differences[which], self.weights[which], self.total)


def complementary_pairs(sample: EvaluatedSample, estimator: str) -> Pairs:
    """Return the distinct pairs among the proper coalitions of a sample, in canonical order.

    Repeated coalitions are averaged; a coalition without its complement is left out.

    Raises:
        LedgerError: there is no pair; the message names the estimator that asked.
    """
    rows = distinct_rows(sample)
    halves = rows.halves()
    if not len(halves):
        raise LedgerError(
            f"estimator={estimator} compares coalitions with their complements, and none of the "
            f"{len(sample)} coalitions has its own; evaluate some with design=paired_uniform."
        )
    return pairs_of(rows, halves, sample.v_full - sample.v_empty)


def pairs_of(rows: Rows, halves: NDArray[np.int64], total: float) -> Pairs:
    """Return the pairs of which these rows (p,) are the halves; total is v(N) - v(empty)."""
    proper = is_proper(rows.coalitions)
    weights = np.zeros(len(proper))
    chances = rows.log_probabilities[proper] - np.log(rows.counts[proper])
    weights[proper] = importance_weights(rows.coalitions[proper], chances)
    partners = rows.partners[halves]
    return Pairs(
        np.where(rows.coalitions[halves], 1.0, -1.0),
        rows.utilities[halves] - rows.utilities[partners],
        weights[halves] + weights[partners],
        total,
    )


def has_complement(coalitions: CoalitionMatrix) -> NDArray[np.bool_]:
    """Return which proper coalitions (m, n) have their complement among them, (m,)."""
    there = {row.tobytes() for row in coalitions}
    paired = np.array([(~row).tobytes() in there for row in coalitions], dtype=bool)
    return is_proper(coalitions) & paired


def shapley_weights(signs: Floats) -> Floats:
    """Return what the difference of signs (p, n) adds to each Shapley value, (n, p), of all summed.

    phi_i = (v(N) - v(empty)) / n + sum over all pairs of w_i d, with w_i = 1 / (n C(n-1, s-1)) for
    members of the half of size s and w_i = -1 / (n C(n-1, s)) for the others.
    """
    joined, apart = _weights_by_size(signs.shape[1])
    sizes = (signs > 0).sum(axis=1) - 1
    return np.where(signs.T > 0, joined[sizes], -apart[sizes])


def weighted_covariance(variance_by_size: Floats) -> Floats:
    """Return the covariance (n, n) that independent errors of all differences give Shapley values.

    Args:
        variance_by_size: of a difference whose half has the size 1..n-1, (n - 1,); a pair has the
            same variance by either of its halves.
    """
    n = len(variance_by_size) + 1
    joined, apart = _weights_by_size(n)
    sizes = np.arange(1, n)
    # Summed over all coalitions, each pair comes twice. C(n-1, s-1) joined = C(n-1, s) apart = 1/n.
    own = (joined + apart) / n
    both = ((sizes - 1) * joined - 2 * (n - sizes) * apart + (n - sizes - 1) * apart) / (
        n * max(n - 1, 1)
    )
    covariance = np.full((n, n), (variance_by_size * both).sum() / 2)
    np.fill_diagonal(covariance, (variance_by_size * own).sum() / 2)
    return covariance


def _weights_by_size(n_players: int) -> tuple[Floats, Floats]:
    """Return 1 / (n C(n-1, s-1)) and 1 / (n C(n-1, s)) for the sizes s = 1..n-1."""
    sizes = np.arange(1, n_players)

    def log_binomial(chosen: NDArray[np.int64]) -> Floats:
        return gammaln(n_players) - gammaln(chosen + 1) - gammaln(n_players - chosen)

    return np.exp(-log_binomial(sizes - 1)) / n_players, np.exp(-log_binomial(sizes)) / n_players
