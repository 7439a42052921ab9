"""Shapley interactions of two contributors: who is redundant, and who complements whom.

With every coalition they are exact. Otherwise they are estimated from sums over a coalition and its
complement: interactions are even functions of the coalition, so whatever is odd, such as credits
themselves, cancels and plays no part. `model` says how.

That is a regression with n (n - 1) / 2 coefficients, hence `minimum_coalitions`. On the digits game
of 10 contributors the correlation of estimated and exact interactions is 0.69 to 0.89 at 6 n
coalitions, 0.81 to 0.93 at 9 n, which is the minimum, and 0.95 to 0.98 at 20 n; two standard errors
cover 87 to 93 % of the exact ones, since what is more than pairwise is no pure noise. On toy games
of 20 and 40 contributors the correlation is 0.73 to 0.97 at the minimum, 0.5 to 0.71 at half of it
and 0.35 to 0.57 at 6 n, which is too little to name a pair by. Errors are too small with 4 or 5
contributors of whom four act together: two of them cover 65 and 76 to 86 % of such toy games, until
all coalitions are there; with 6 to 8 contributors 88 to 96 %.
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.game.coalition import CoalitionMatrix, all_coalitions
from crediting.game.enumeration import with_ends
from crediting.game.game import EvaluatedSample
from crediting.game.rows import distinct_rows
from crediting.interactions.model import PairSums, interaction_weights, likeliest_prior, posterior

Floats = NDArray[np.float64]

MOST_PAIRS = 5000
"""More are left out, unless there are more coefficients: their matrices would be too large."""
OUT_OF_REACH = 10_000
"""Coalitions that hardly anybody will evaluate."""
MOST_PLAYERS = 150
"""Their interactions take two minutes and 2 GB; with twice as many it were hours and 37 GB."""


@dataclass(frozen=True)
class Interactions:
    """Shapley interactions of n contributors, in the unit of the property.

    Below zero two contributors are redundant, worth less together than one by one; above zero they
    complement each other.

    Args:
        values: (n, n), symmetric; NaN on the diagonal, since nobody interacts with itself.
        std_errors: (n, n), likewise.
        n_coalitions: how many the values rest on.
        exact: whether these are all there are; then errors are those of measured noise alone.

    Source: Grabisch & Roubens, "An axiomatic approach to the concept of interaction among players
    in cooperative games", 1999.
    """

    values: Floats
    std_errors: Floats
    n_coalitions: int
    exact: bool


def minimum_coalitions(n_players: int) -> int:
    """Return n (n - 1): a pair of complementary coalitions for every pair of contributors."""
    return n_players * (n_players - 1)


def interactions(sample: EvaluatedSample) -> Interactions:
    """Return the interactions of the game as evaluated, or without its noise where it is measured.

    Coalitions without their complement are left out.

    Raises:
        LedgerError: there are fewer pairs than `minimum_coalitions` asks for, more contributors
            than MOST_PLAYERS, or there is nobody to interact with.
    """
    n = sample.n_players
    if n < 2:
        raise LedgerError(f"interactions need at least 2 contributors, got {n}.")
    rows = distinct_rows(sample)
    halves = rows.halves()
    if len(halves) == 2 ** (n - 1) - 1:
        return _exactly(sample)
    _check_budget(len(halves), len(sample), n)
    halves = halves[_kept(rows.coalitions[halves])]
    sums = rows.utilities[halves] + rows.utilities[rows.partners[halves]]
    grand = sample.v_empty + sample.v_full
    pairs = PairSums(np.where(rows.coalitions[halves], 1.0, -1.0), sums, grand)
    noise = float(np.nan_to_num(2 * sample.noise_variance))
    values, errors = posterior(pairs, likeliest_prior(pairs), noise)
    return Interactions(values, errors, 2 * len(halves), exact=False)


def shapley_interactions(utilities: Floats) -> Floats:
    """Return the interactions (n, n) from utilities (2^n,) in the order of `all_coalitions`.

    I_ij = sum over S without i and j of (v(S + ij) - v(S + i) - v(S + j) + v(S)) times
    1 / ((n - 1) C(n - 2, |S|)); NaN on the diagonal.
    """
    n = len(utilities).bit_length() - 1
    values = np.full((n, n), np.nan)
    weights = interaction_weights(n)[all_coalitions(n - 2).sum(axis=1)]
    for i, j in combinations(range(n), 2):
        # Axes 1 and 3 are the digits of j and i in the row number: 0 without them, 1 with them.
        corners = utilities.reshape(-1, 2, 2 ** (j - i - 1), 2, 2**i)
        joint = np.diff(np.diff(corners, axis=1), axis=3)
        values[i, j] = values[j, i] = weights @ joint.ravel()
    return values


def _exactly(sample: EvaluatedSample) -> Interactions:
    n = sample.n_players
    squares = 4 * interaction_weights(n).sum() / (n - 1)  # each weight comes 4 C(n - 2, s) times
    errors = np.full((n, n), np.sqrt(squares * np.nan_to_num(sample.noise_variance)))
    np.fill_diagonal(errors, np.nan)
    return Interactions(shapley_interactions(with_ends(sample)), errors, 2**n, exact=True)


def _check_budget(n_pairs: int, n_rows: int, n_players: int) -> None:
    budget = minimum_coalitions(n_players)
    if 2 * n_pairs >= budget and n_players > MOST_PLAYERS:
        raise LedgerError(
            f"interactions of {n_players} contributors, more than {MOST_PLAYERS}, take too long "
            "and too much memory; merge contributors into groups."
        )
    if 2 * n_pairs >= budget:
        return
    advice = f"evaluate more with design=paired_uniform design.budget={budget}"
    if budget > OUT_OF_REACH:
        advice = f"{budget:,} coalitions are out of reach for most; merge contributors into groups"
    raise LedgerError(
        f"interactions of {n_players} contributors need {budget // 2:,} distinct pairs of a "
        f"coalition and its complement, there are {n_pairs:,} among {n_rows:,} coalitions; "
        f"{advice}."
    )


def _kept(halves: CoalitionMatrix) -> NDArray[np.intp]:
    """Return which pairs are used: those of single contributors, then others in random order.

    The former weigh most, and with all of them everybody's interactions have the right sum.
    """
    n_pairs, n = halves.shape
    order = np.random.default_rng(n_pairs).permutation(n_pairs)
    sizes = halves[order].sum(axis=1)
    alone = (sizes == 1) | (sizes == n - 1)
    return order[np.argsort(~alone, kind="stable")][: max(MOST_PAIRS, comb(n, 2))]
