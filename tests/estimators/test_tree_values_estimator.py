"""Shapley values of trees against their definition, and boosted trees against scikit-learn's."""

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from crediting.estimators.trees.boosting import Boosting
from crediting.estimators.trees.values import NOBODY, Forest, forest_shapley_values
from crediting.game.coalition import all_coalitions
from crediting.game.enumeration import shapley_values

EVERY = all_coalitions(7)


def random_tree(generator, n_players, depth):
    """A tree whose splits may repeat or contradict those above them, as (players, ...) lists."""
    players, absent, present, values = [], [], [], []

    def grow(level):
        place = len(players)
        players.append(NOBODY)
        absent.append(-1)
        present.append(-1)
        values.append(generator.normal())
        if level < depth and generator.random() < 0.8:
            players[place] = int(generator.integers(n_players))
            absent[place] = grow(level + 1)
            present[place] = grow(level + 1)
        return place

    grow(0)
    return players, absent, present, values


def forest_of(trees):
    starts = np.cumsum([0, *(len(tree[0]) for tree in trees)])[:-1]
    shifted = [
        (players, np.array(absent) + start, np.array(present) + start, values)
        for start, (players, absent, present, values) in zip(starts, trees, strict=True)
    ]
    return Forest(*(np.concatenate(parts) for parts in zip(*shifted, strict=True)), starts)


def forest_utilities(forest, coalitions):
    """Return what a forest says of coalitions (m, n), (m,)."""
    nodes = np.tile(forest.roots, (len(coalitions), 1))
    rows = np.arange(len(coalitions))[:, None]
    while (inner := forest.players[nodes] != NOBODY).any():
        joined = coalitions[rows, forest.players[nodes]]
        nodes = np.where(
            inner, np.where(joined, forest.present[nodes], forest.absent[nodes]), nodes
        )
    return forest.values[nodes].sum(axis=1)


def walk(tree, coalition):
    players, absent, present, values = tree
    node = 0
    while players[node] != NOBODY:
        node = (present if coalition[players[node]] else absent)[node]
    return values[node]


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_the_definition(seed):
    generator = np.random.default_rng(seed)
    trees = [random_tree(generator, 7, depth) for depth in (0, 1, 3, 6, 6)]
    utilities = np.array([sum(walk(tree, row) for tree in trees) for row in EVERY])
    forest = forest_of(trees)
    np.testing.assert_allclose(forest_utilities(forest, EVERY), utilities, rtol=0, atol=1e-12)
    found = forest_shapley_values(forest, 7)
    np.testing.assert_allclose(found, shapley_values(utilities), rtol=0, atol=1e-12)


def test_a_unanimity_tree_shares_equally():
    # 1 if 0 and 2 take part and 1 does not: 1! 1! / 3! for each of the two, - 2! 0! / 3! for 1
    forest = Forest(
        players=np.array([0, NOBODY, 2, NOBODY, 1, NOBODY, NOBODY]),
        absent=np.array([1, -1, 3, -1, 6, -1, -1]),
        present=np.array([2, -1, 4, -1, 5, -1, -1]),
        values=np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
        roots=np.array([0]),
    )
    np.testing.assert_allclose(forest_shapley_values(forest, 4), [1 / 6, -1 / 3, 1 / 6, 0])


def test_hundreds_of_deep_trees_over_many_players_are_efficient():
    generator = np.random.default_rng(0)
    trees = [random_tree(generator, 1000, 8) for _ in range(300)]
    forest = forest_of(trees)
    ends = np.stack([np.zeros(1000, dtype=bool), np.ones(1000, dtype=bool)])
    low, high = forest_utilities(forest, ends)
    assert forest_shapley_values(forest, 1000).sum() == pytest.approx(high - low)


def odd_game(signs):
    return signs @ np.arange(7) + 5 * signs[:, 0] * signs[:, 1] * signs[:, 2]


def test_boosted_trees_predict_what_their_forest_says():
    signs = np.where(EVERY[::2], 1.0, -1.0)
    targets = odd_game(signs)
    training = np.arange(len(signs)) % 4 > 0
    found = Boosting(30, 3, 0.3, 2).fit(signs, targets, np.ones(len(signs)), training, 1)
    of_forest = [forest_utilities(found.forest, rows) for rows in (signs > 0, signs < 0)]
    np.testing.assert_allclose(found.odd, (of_forest[0] - of_forest[1]) / 2, rtol=0, atol=1e-9)
    held_out = ~training
    assert np.corrcoef(found.odd[held_out], targets[held_out])[0, 1] > 0.9


def test_boosting_never_looks_at_held_out_targets():
    signs = np.where(EVERY[::2], 1.0, -1.0)
    targets, training = odd_game(signs), np.arange(len(signs)) % 4 > 0
    spoilt = np.where(training, targets, 1e6)
    boosting, weights = Boosting(5, 3, 0.3, 2), np.ones(len(signs))
    one = boosting.fit(signs, targets, weights, training, 1)
    other = boosting.fit(signs, spoilt, weights, training, 1)
    np.testing.assert_array_equal(one.odd, other.odd)


def test_boosting_is_that_of_scikit_learn_where_no_two_splits_are_equally_good():
    signs, everyone = np.where(EVERY, 1.0, -1.0), EVERY.astype(bool)
    of_row = {row.tobytes(): index for index, row in enumerate(everyone)}
    mirrored = [of_row[row.tobytes()] for row in ~everyone]
    noise = np.random.default_rng(0).normal(size=len(signs))
    targets = noise - noise[mirrored]
    # each row is joined by its mirror image, so that each leaf here holds all rows twice
    ours = Boosting(50, 3, 0.2, 4).fit(
        signs, targets, np.ones(len(signs)), np.ones(len(signs), dtype=bool), 0
    )
    theirs = (
        GradientBoostingRegressor(
            n_estimators=50, max_depth=3, learning_rate=0.2, min_samples_leaf=2
        )
        .fit(signs, targets)
        .predict(signs)
    )
    np.testing.assert_allclose(ours.odd, (theirs - theirs[mirrored]) / 2, rtol=0, atol=1e-12)


def test_one_split_is_that_of_a_single_tree():
    signs = np.where(EVERY, 1.0, -1.0)
    targets = odd_game(signs)
    ours = Boosting(1, 1, 1.0, 1).fit(
        signs, targets, np.ones(len(signs)), np.ones(len(signs), dtype=bool), 0
    )
    stump = DecisionTreeRegressor(max_depth=1).fit(signs, targets)
    np.testing.assert_allclose(ours.odd, stump.predict(signs), rtol=0, atol=1e-9)


def test_held_out_targets_of_any_size_leave_the_trees_as_they_are():
    signs = np.where(EVERY[::2], 1.0, -1.0)
    targets, training = odd_game(signs), np.arange(len(signs)) % 4 > 0
    boosting, weights = Boosting(5, 3, 0.3, 2), np.ones(len(signs))
    one, *others = (
        boosting.fit(signs, np.where(training, targets, held_out), weights, training, 1).odd
        for held_out in (0.0, 1e200, np.nan)
    )
    for other in others:
        np.testing.assert_array_equal(one, other)


def stumps_over_many(seed):
    """Sixty trees of one split each: twice as many players as are tried for one, all alike."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(300, 64))
    everyone = np.ones(300)
    return Boosting(60, 1, 0.3, 1).fit(signs, signs.sum(axis=1), everyone, everyone > 0, seed)


def test_every_tree_tries_players_of_its_own():
    forest = stumps_over_many(0).forest
    assert len(np.unique(forest.players[forest.roots])) > 40  # one draw of 32 would be all


def test_all_of_a_large_seed_decides_which_players_are_tried():
    asked = [
        stumps_over_many(seed).forest.players.tolist() for seed in (5, 5, 5 + 2**32, 5 + 2**62)
    ]
    assert asked[0] == asked[1]
    assert len({tuple(players) for players in asked}) == 3
