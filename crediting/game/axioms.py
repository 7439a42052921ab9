"""How far credits are from Shapley's axioms, in the unit of the property; 0 is no violation.

Symmetry and null player ask what every coalition is worth, so they need a game that is known in
full: its utilities (2^n,) in the order of `all_coalitions`. There is no axiom here for additivity,
which speaks of two games at once.

Source: Shapley, "A value for n-person games", 1953.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray


def efficiency_gap(credits: NDArray[np.float64], v_empty: float, v_full: float) -> float:
    """Return |(v(N) - v(empty)) - sum of credits|: what credits (n,) fail to hand out."""
    return float(abs(v_full - v_empty - credits.sum()))


def symmetry_gap(
    credits: NDArray[np.float64], utilities: NDArray[np.float64], tolerance: float
) -> float:
    """Return the largest difference in credits (n,) between two interchangeable players.

    Utilities (2^n,) that differ by at most the tolerance count as equal.
    """
    pairs = interchangeable_players(utilities, tolerance)
    return max((float(abs(credits[i] - credits[j])) for i, j in pairs), default=0.0)


def null_player_gap(
    credits: NDArray[np.float64], utilities: NDArray[np.float64], tolerance: float
) -> float:
    """Return the largest absolute credit of a player who adds nothing to any coalition.

    Marginal contributions of at most the tolerance count as nothing; `utilities` has shape (2^n,).
    """
    null = null_players(utilities, tolerance)
    return float(np.abs(credits[null]).max(initial=0.0))


def interchangeable_players(
    utilities: NDArray[np.float64], tolerance: float
) -> list[tuple[int, int]]:
    """Return the pairs i < j with v(S + i) = v(S + j) for every coalition S without both."""
    game = _by_player(utilities)
    return [
        (i, j)
        for i, j in combinations(range(game.ndim), 2)
        if np.abs(game - game.swapaxes(i, j)).max() <= tolerance
    ]


def null_players(utilities: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Return the players i with v(S + i) = v(S) for every coalition S, (n_null,)."""
    game = _by_player(utilities)
    largest = [np.abs(np.diff(game, axis=player)).max() for player in range(game.ndim)]
    return np.flatnonzero(np.array(largest) <= tolerance)


def _by_player(utilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return utilities (2^n,) as an array (2,) * n; its axis i says whether player i takes part."""
    n_players = len(utilities).bit_length() - 1
    return utilities.reshape((2,) * n_players).T
