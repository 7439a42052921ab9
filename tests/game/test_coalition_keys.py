import numpy as np
import pytest

from crediting.game.coalition import (
    all_coalitions,
    coalition_from_key,
    coalition_key,
    coalition_keys,
    distinct,
    empty_coalition,
    first_appearances,
    grand_coalition,
)


@pytest.mark.parametrize("n_players", range(1, 301))
def test_key_round_trip(n_players):
    random = np.random.default_rng(n_players).random(n_players) < 0.5
    for coalition in (random, empty_coalition(n_players), grand_coalition(n_players)):
        np.testing.assert_array_equal(coalition_from_key(coalition_key(coalition)), coalition)


def test_keys_tell_all_coalitions_apart_across_sizes_of_the_game():
    keys = [coalition_key(row) for n in range(1, 9) for row in all_coalitions(n)]
    assert len(set(keys)) == len(keys) == sum(2**n for n in range(1, 9))


def test_all_coalitions_are_numbered_by_their_binary_digits():
    coalitions = all_coalitions(7)
    np.testing.assert_array_equal(coalitions @ (2 ** np.arange(7)), np.arange(2**7))


def test_distinct_keeps_first_appearances_in_order():
    rows = np.array([[1, 0], [0, 1], [1, 0], [1, 1], [0, 1]], dtype=bool)
    np.testing.assert_array_equal(distinct(rows), [[1, 0], [0, 1], [1, 1]])


@pytest.mark.parametrize("n_players", [1, 7, 8, 9, 64, 1000])
def test_keys_of_many_are_those_of_each(n_players):
    rows = np.random.default_rng(n_players).random((50, n_players)) < 0.5
    assert coalition_keys(rows) == [coalition_key(row) for row in rows]
    assert coalition_keys(rows[::2, ::-1]) == [coalition_key(row) for row in rows[::2, ::-1]]
    assert coalition_keys(rows[:0]) == []


@pytest.mark.parametrize("n_players", [1, 3, 8, 9, 17])
def test_first_appearances_are_those_of_sorted_distinct_rows(n_players):
    rows = np.random.default_rng(n_players).random((200, n_players)) < 0.5
    _, expected = np.unique(rows, axis=0, return_index=True)
    np.testing.assert_array_equal(first_appearances(rows), expected)
    assert distinct(rows[:0]).shape == (0, n_players)
