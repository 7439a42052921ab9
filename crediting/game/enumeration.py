"""Games of which every coalition is known: their utilities in one order, their Shapley values."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.game.coalition import (
    CoalitionMatrix,
    all_coalitions,
    coalition_key,
    distinct,
    ends,
    is_proper,
)
from crediting.game.game import EvaluatedSample


def shapley_values(utilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Shapley values (n,) from utilities (2^n,) in the order of `all_coalitions`.

    phi_i = (1/n) sum over S without i of (v(S + i) - v(S)) / C(n-1, |S|).
    Source: Shapley, "A value for n-person games", 1953; Lu et al. 2025, definition 1.
    """
    n_players = len(utilities).bit_length() - 1
    weight_of_size = np.array([1 / (n_players * comb(n_players - 1, s)) for s in range(n_players)])
    sizes = all_coalitions(n_players).sum(axis=1)
    values = np.empty(n_players)
    for player in range(n_players):
        # Axis 1 is the digit of this player in the row number: 0 without it, 1 with it.
        without, joined = np.moveaxis(utilities.reshape(-1, 2, 2**player), 1, 0)
        weights = weight_of_size[sizes.reshape(-1, 2, 2**player)[:, 0]]
        values[player] = (weights * (joined - without)).sum()
    return values


def complete_utilities(
    coalitions: CoalitionMatrix, utilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return utilities (2^n,) in the order of `all_coalitions`, from rows (m, n) in any order.

    A coalition that occurs more than once gets its mean utility.

    Raises:
        LedgerError: a coalition is missing.
    """
    n_rows, n_players = coalitions.shape
    if n_rows < 2**n_players:
        raise LedgerError(
            f"exact Shapley values of {n_players} contributors need all 2^{n_players} coalitions, "
            f"got {n_rows}; evaluate the rest with design=exhaustive or use estimator=kernel_shap."
        )
    numbers = coalitions @ (1 << np.arange(n_players))
    counts = np.bincount(numbers, minlength=2**n_players)
    missing = np.flatnonzero(counts == 0)
    if len(missing):
        examples = [coalition_key(row) for row in all_coalitions(n_players)[missing[:3]]]
        raise LedgerError(
            f"exact Shapley values need all 2^{n_players} coalitions, {len(missing)} are missing, "
            f"for instance {', '.join(examples)}; evaluate them with design=exhaustive."
        )
    return np.bincount(numbers, weights=utilities) / counts


def with_ends(sample: EvaluatedSample) -> NDArray[np.float64]:
    """Return the utilities (2^n,) of a sample and its two ends, in the order of `all_coalitions`.

    Raises:
        LedgerError: a coalition is missing.
    """
    return complete_utilities(
        np.vstack([sample.coalitions, ends(sample.n_players)]),
        np.append(sample.utilities, [sample.v_empty, sample.v_full]),
    )


def is_complete(sample: EvaluatedSample) -> bool:
    """Return whether every coalition is in a sample, but for the ends, which it has beside."""
    n_proper = 2**sample.n_players - 2
    proper = sample.coalitions[is_proper(sample.coalitions)]
    return len(proper) >= n_proper and len(distinct(proper)) == n_proper
