import numpy as np
import pytest

from crediting.game.axioms import (
    efficiency_gap,
    interchangeable_players,
    null_player_gap,
    null_players,
    symmetry_gap,
)
from crediting.game.coalition import all_coalitions
from crediting.game.toy import Additive, Airport, Gloves, SymmetricMajority, UnanimitySum

# Players 0 and 2 are interchangeable, player 1 adds nothing, player 3 is like no other.
GAME = Airport((4.0, 0.0, 4.0, 5.0))
UTILITIES = GAME(all_coalitions(4))


@pytest.mark.parametrize(
    "game",
    [
        GAME,
        Gloves(2, 3),
        SymmetricMajority(5),
        UnanimitySum.random(5, (3, 2, 2), seed=8),
        Additive((1.0, 0.0, 1.0, 0.0)),
    ],
    ids=repr,
)
def test_shapley_values_violate_nothing(game):
    utilities = game(all_coalitions(game.n_players))
    values = game.shapley_values
    assert efficiency_gap(values, utilities[0], utilities[-1]) < 1e-12
    assert symmetry_gap(values, utilities, 1e-12) < 1e-12
    assert null_player_gap(values, utilities, 1e-12) < 1e-12


def test_efficiency_gap_is_the_missing_amount():
    assert efficiency_gap(np.array([1.0, 2.0]), 0.5, 4.0) == 0.5
    assert efficiency_gap(np.array([1.0, 3.0]), 0.5, 4.0) == 0.5


def test_interchangeable_players_are_found():
    assert interchangeable_players(UTILITIES, 0.0) == [(0, 2)]
    assert interchangeable_players(Gloves(2, 2)(all_coalitions(4)), 0.0) == [(0, 1), (2, 3)]


def test_null_players_are_found():
    np.testing.assert_array_equal(null_players(UTILITIES, 0.0), [1])


def test_symmetry_gap_looks_at_interchangeable_players_only():
    assert symmetry_gap(np.array([1.0, 7.0, 3.5, 9.0]), UTILITIES, 0.0) == 2.5


def test_null_player_gap_looks_at_null_players_only():
    assert null_player_gap(np.array([1.0, -0.25, 3.5, 9.0]), UTILITIES, 0.0) == 0.25


def test_nothing_is_violated_where_no_player_is_concerned():
    utilities = Additive((1.0, 2.0, 4.0))(all_coalitions(3))
    credits = np.array([5.0, -1.0, 3.0])
    assert symmetry_gap(credits, utilities, 0.0) == 0
    assert null_player_gap(credits, utilities, 0.0) == 0


def test_tolerance_decides_what_counts_as_equal():
    utilities = Additive((1.0, 1.1, 0.05))(all_coalitions(3))
    assert interchangeable_players(utilities, 0.01) == []
    assert interchangeable_players(utilities, 0.2) == [(0, 1)]
    np.testing.assert_array_equal(null_players(utilities, 0.2), [2])
