from itertools import permutations

import numpy as np
import pytest

from crediting.design import (
    Bernoulli,
    PairedKernel,
    PairedUniform,
    Permutation,
    ShapleyKernel,
    Stratified,
)
from crediting.estimators.regression.units import bootstrap_credits, complete_orders, sampling_units


def members(units):
    """The rows of every unit, as a set of sets."""
    return {frozenset(np.flatnonzero(units == unit).tolist()) for unit in np.unique(units)}


def consecutive(size, count):
    return {frozenset(range(start, start + size)) for start in range(0, size * count, size)}


PAIRED = [PairedUniform(60, 1, True), PairedKernel(60, 1), Stratified(60, 1, True)]


@pytest.mark.parametrize("design", PAIRED, ids=repr)
@pytest.mark.parametrize("n_players", [6, 9, 40])
def test_a_coalition_and_its_complement_are_one_unit(design, n_players):
    coalitions = design.sample(n_players).coalitions
    assert members(sampling_units(coalitions)) == consecutive(2, len(coalitions) // 2)


@pytest.mark.parametrize("design", PAIRED, ids=repr)
def test_pairs_are_found_whatever_the_order_and_where_one_half_is_missing(design):
    coalitions = design.sample(9).coalitions
    order = np.random.default_rng(0).permutation(60)[:54]
    found = members(sampling_units(coalitions[order]))
    place = {int(row): position for position, row in enumerate(order)}
    expected = {
        frozenset(place[row] for row in (first, first + 1) if row in place)
        for first in range(0, 60, 2)
    }
    assert found == expected - {frozenset()}


@pytest.mark.parametrize("design", [ShapleyKernel, Bernoulli])
@pytest.mark.parametrize(("n_players", "budget"), [(5, 60), (6, 2000), (30, 100)])
def test_complements_that_independent_draws_meet_by_chance_are_no_units(design, n_players, budget):
    for seed in range(5):
        units = sampling_units(design(budget, seed).sample(n_players).coalitions)
        assert len(np.unique(units)) == budget


def test_a_repeated_pair_is_another_unit():
    half = np.array([[True, False, False, True, False]])
    other = np.array([[True, True, False, False, False]])
    coalitions = np.concatenate([half, ~half, other, ~other, ~half, half])
    assert members(sampling_units(coalitions)) == consecutive(2, 3)


@pytest.mark.parametrize("n_players", [4, 7, 30])
def test_an_order_is_a_unit_and_with_its_reverse_another(n_players):
    size = n_players - 1
    plain, antithetic = (
        Permutation(8 * size, 2, flag).sample(n_players).coalitions for flag in (False, True)
    )
    assert members(sampling_units(plain)) == consecutive(size, 8)
    assert members(sampling_units(antithetic)) == consecutive(2 * size, 4)


@pytest.mark.parametrize("n_players", [2, 3, 4, 6])
def test_complete_orders_are_read_off_their_coalitions(n_players):
    every_order = np.array(list(permutations(range(n_players))))
    places = np.argsort(every_order, axis=1)
    prefixes = places[:, None, :] < np.arange(1, n_players)[:, None]
    coalitions = prefixes.reshape(-1, n_players)
    found = complete_orders(coalitions)
    np.testing.assert_array_equal(found.places, places)
    np.testing.assert_array_equal(found.rows.ravel(), np.arange(len(coalitions)))


@pytest.mark.parametrize("lost", [0, 2, 5, 6, 9, 13, 17])
def test_an_order_that_lacks_a_coalition_is_none(lost):
    coalitions = Permutation(18, 0, False).sample(7).coalitions
    found = complete_orders(np.delete(coalitions, lost, axis=0))
    everything = complete_orders(coalitions)
    np.testing.assert_array_equal(found.places, np.delete(everything.places, lost // 6, axis=0))


@pytest.mark.parametrize("n_rows", [0, 1, 4])
def test_too_few_coalitions_have_no_order(n_rows):
    coalitions = Permutation(18, 0, False).sample(7).coalitions[:n_rows]
    assert len(complete_orders(coalitions).rows) == 0


def test_resampled_credits_have_the_variance_of_a_sum_over_units():
    influences = np.random.default_rng(0).normal(size=(40, 3))
    influences -= influences.mean(axis=0)
    resampled = bootstrap_credits(np.array([1.0, 2.0, 3.0]), influences, 20_000, seed=0)
    np.testing.assert_allclose(resampled.mean(axis=0), [1, 2, 3], atol=0.2)
    np.testing.assert_allclose(resampled.var(axis=0), (influences**2).sum(axis=0), rtol=0.05)
