from itertools import permutations

import numpy as np
import pytest

from crediting.game.coalition import all_coalitions
from crediting.game.toy import (
    Additive,
    Airport,
    Gloves,
    NoisyGame,
    SymmetricMajority,
    UnanimitySum,
)

SMALL_GAMES = [
    Additive((1.5, -2.0, 0.0, 3.0)),
    Gloves(1, 2),
    Gloves(2, 1),
    Gloves(2, 4),
    Gloves(3, 3),
    Airport((4.0, 1.0, 4.0, 0.0, 2.5)),
    UnanimitySum.random(6, (6, 5, 4, 3), seed=3),
    SymmetricMajority(4),
    SymmetricMajority(5),
]


def mean_marginal_contributions(game):
    """Shapley values by their other definition: averages over all orders of arrival."""
    n = game.n_players
    utilities = game(all_coalitions(n))
    values = np.zeros(n)
    orders = list(permutations(range(n)))
    for order in orders:
        before = 0
        for player in order:
            values[player] += utilities[before | 1 << player] - utilities[before]
            before |= 1 << player
    return values / len(orders)


@pytest.mark.parametrize("game", SMALL_GAMES, ids=repr)
def test_closed_form_is_the_mean_marginal_contribution(game):
    expected = mean_marginal_contributions(game)
    np.testing.assert_allclose(game.shapley_values, expected, rtol=0, atol=1e-12)


def test_gloves_as_in_the_literature():
    # One left glove, two right ones: the textbook case.
    np.testing.assert_allclose(Gloves(1, 2).shapley_values, [2 / 3, 1 / 6, 1 / 6])


def test_the_empty_coalition_is_worth_nothing():
    for game in SMALL_GAMES:
        assert game(np.zeros((1, game.n_players), dtype=bool)) == 0


def test_random_carriers_have_the_orders_asked_for():
    game = UnanimitySum.random(9, (2, 0, 5), seed=0)
    assert [len(carrier) for carrier in game.carriers] == [1] * 2 + [3] * 5
    assert all(len(set(carrier)) == len(carrier) for carrier in game.carriers)


def test_noise_belongs_to_the_coalition_and_has_the_scale_asked_for():
    quiet = Additive(tuple(np.linspace(-1, 1, 11)))
    noisy = NoisyGame(quiet, scale=0.5, seed=4)
    coalitions = all_coalitions(11)
    errors = noisy(coalitions) - quiet(coalitions)
    order = np.random.default_rng(0).permutation(len(coalitions))
    np.testing.assert_allclose(
        noisy(coalitions[order]) - quiet(coalitions[order]), errors[order], rtol=0, atol=1e-12
    )
    standard_error = 0.5 / np.sqrt(len(errors))
    assert abs(errors.mean()) < 4 * standard_error
    assert abs(errors.std() - 0.5) < 4 * standard_error
    assert not np.any(errors == NoisyGame(quiet, 0.5, seed=5)(coalitions) - quiet(coalitions))
    np.testing.assert_array_equal(noisy.shapley_values, quiet.shapley_values)
