"""What all designs that draw have in common, and what each of them promises."""

import hashlib
from math import comb, lgamma, log

import numpy as np
import pytest
from scipy.stats import chisquare

from crediting.design import (
    Bernoulli,
    FixedSize,
    PairedKernel,
    PairedUniform,
    Permutation,
    ShapleyKernel,
    Stratified,
)
from crediting.errors import ConfigError
from crediting.game.coalition import all_coalitions, coalition_key


def uniform_pairs(budget, seed):
    return PairedUniform(budget, seed, ends=False)


def ends_and_pairs(budget, seed):
    return PairedUniform(budget, seed, ends=True)


def fixed_size(budget, seed):
    return FixedSize(0.5, budget, seed)


def orders(budget, seed):
    return Permutation(budget, seed, antithetic=False)


def antithetic_orders(budget, seed):
    return Permutation(budget, seed, antithetic=True)


def stratified(budget, seed):
    return Stratified(budget, seed, paired=False)


def stratified_pairs(budget, seed):
    return Stratified(budget, seed, paired=True)


PAIRED = [uniform_pairs, ends_and_pairs, PairedKernel, stratified_pairs]
PROPER_AND_DISTINCT = [*PAIRED, stratified]
DISTINCT = [*PROPER_AND_DISTINCT, fixed_size]
REPEATING = [orders, antithetic_orders, Bernoulli, ShapleyKernel]
ALL = [*DISTINCT, *REPEATING]
SAME_FOR_EVERY_BUDGET = [fixed_size, Bernoulli, ShapleyKernel]


def sizes_of(sample):
    return sample.coalitions.sum(axis=1)


def keys(coalitions):
    return [coalition_key(coalition) for coalition in coalitions]


def kernel_law(n):
    law = np.array([(n - 1) / (s * (n - s)) for s in range(1, n)])
    return law / law.sum()


def first_draws(design, n_players, draws):
    """Return the first coalition and its log-probability under so many seeds."""
    samples = [design(1, seed).sample(n_players) for seed in range(draws)]
    return (
        np.concatenate([sample.coalitions for sample in samples]),
        np.concatenate([sample.log_probabilities for sample in samples]),
    )


# ------------------------------------------------------------------------------ common to all


@pytest.mark.parametrize("design", ALL)
@pytest.mark.parametrize(("n_players", "small", "large"), [(4, 5, 11), (20, 64, 301), (258, 7, 90)])
def test_a_smaller_budget_is_a_prefix_of_a_larger_one(design, n_players, small, large):
    long, short = (design(budget, 7).sample(n_players) for budget in (large, small))
    np.testing.assert_array_equal(long.coalitions[: len(short)], short.coalitions)
    assert len(short) <= small
    assert long.coalitions.dtype == bool


@pytest.mark.parametrize("design", SAME_FOR_EVERY_BUDGET)
def test_the_budget_does_not_change_what_is_as_likely_in_every_row(design):
    long, short = (design(budget, 7).sample(20).log_probabilities for budget in (301, 64))
    np.testing.assert_array_equal(long[: len(short)], short)


@pytest.mark.parametrize("design", ALL)
def test_a_seed_decides_which_coalitions(design):
    first, again, other = (design(40, seed).sample(12).coalitions for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(set(keys(first)) ^ set(keys(other))) > 10


@pytest.mark.parametrize(
    ("design", "digest"),
    [
        (uniform_pairs, "a6ec7503726ebea0"),
        (ends_and_pairs, "5c4e94e970f5cee7"),
        (PairedKernel, "4f583a2512dbe8ad"),
        (stratified_pairs, "9f29944d9541ec04"),
        (stratified, "31fcfdebe44504f4"),
        (fixed_size, "748be195ca98470d"),
        (orders, "0f3547f385cbcd1d"),
        (antithetic_orders, "2112fccdd4a036c4"),
        (Bernoulli, "08caef2f1efe2699"),
        (ShapleyKernel, "2a1b1ac164dcc39c"),
    ],
)
def test_a_seed_means_what_it_meant_in_earlier_releases(design, digest):
    """Else what a study has evaluated would be evaluated anew, and other coalitions at that."""
    drawn = " ".join(keys(design(90, 3).sample(8).coalitions))
    assert hashlib.sha256(drawn.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("design", ALL)
def test_a_budget_below_one_is_refused(design):
    with pytest.raises(ConfigError, match=r"^design\.budget: expected at least 1 .* got 0; "):
        design(0, 0)


@pytest.mark.parametrize("design", ALL)
@pytest.mark.parametrize("n_players", [4, 5])
def test_probabilities_of_all_coalitions_sum_to_one(design, n_players):
    sample = design(1200, 1).sample(n_players)
    probability = dict(zip(keys(sample.coalitions), sample.log_probabilities, strict=True))
    assert sum(np.exp(list(probability.values()))) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "design", [uniform_pairs, ends_and_pairs, PairedKernel, fixed_size, Bernoulli]
)
def test_one_draw_has_the_stated_probability(design):
    coalitions, log_probabilities = first_draws(design, 4, draws=2000)
    _, first, observed = np.unique(coalitions, axis=0, return_index=True, return_counts=True)
    assert chisquare(observed, 2000 * np.exp(log_probabilities[first])).pvalue > 0.01


@pytest.mark.parametrize("design", [orders, antithetic_orders])
def test_coalitions_of_orders_have_the_stated_probability(design):
    budget = 3 * 2000
    sample = design(budget, 3).sample(4)
    _, first, observed = np.unique(sample.coalitions, axis=0, return_index=True, return_counts=True)
    expected = budget * np.exp(sample.log_probabilities[first])
    sizes = sizes_of(sample)[first]
    for size in (1, 2, 3):  # each comes exactly once per order
        chosen = sizes == size
        assert observed[chosen].sum() == expected[chosen].sum().round(6) == 2000
        assert chisquare(observed[chosen], expected[chosen]).pvalue > 0.01


@pytest.mark.parametrize("design", [orders, ShapleyKernel, Bernoulli])
def test_importance_weights_make_the_mean_of_any_game_unbiased(design):
    values = np.random.default_rng(0).normal(size=2**5)
    sample = design(20_000, 0).sample(5)
    rows = sample.coalitions @ (2 ** np.arange(5))
    weighted = np.exp(-sample.log_probabilities) * values[rows]
    drawable = np.unique(rows)
    error = weighted.std() / np.sqrt(len(sample) / 4)  # an order's four rows are dependent
    assert abs(weighted.mean() - values[drawable].sum()) < 4 * error
    assert len(drawable) == (32 if design is Bernoulli else 30)


# ------------------------------------------------------------------------------ how likely a row is


def occurrences(design, budget, n_players, seeds):
    """Return how often coalitions come (seeds, 2^n - 2), and how often they should (2^n - 2,)."""
    everything = all_coalitions(n_players)
    counts = np.zeros((seeds, len(everything)))
    expected_of_size = np.zeros(n_players + 1)  # a design treats all coalitions of a size alike
    for seed in range(seeds):
        sample = design(budget, seed).sample(n_players)
        counts[seed] = np.bincount(
            sample.coalitions @ (1 << np.arange(n_players)), minlength=len(everything)
        )
        expected_of_size[sizes_of(sample)] = budget * np.exp(sample.log_probabilities)
    return counts[:, 1:-1], expected_of_size[everything.sum(axis=1)][1:-1]


@pytest.mark.parametrize("design", [*PROPER_AND_DISTINCT, orders, antithetic_orders])
@pytest.mark.parametrize("budget", [3, 11, 18])
def test_coalitions_occur_as_often_as_their_probabilities_say(design, budget):
    seeds = 300
    counts, expected = occurrences(design, budget, 5, seeds)
    drawable = expected > 0
    assert not counts[:, ~drawable].any()
    errors = counts.mean(axis=0) - expected
    spread = np.sqrt(np.maximum(expected, 1 / seeds) / seeds)
    # How likely it is to be among distinct coalitions is known to a few per cent.
    np.testing.assert_array_less(np.abs(errors), 4.5 * spread + 0.03 * expected)


@pytest.mark.parametrize("design", PROPER_AND_DISTINCT)
@pytest.mark.parametrize(("n_players", "budget"), [(5, 12), (5, 23), (7, 30), (7, 101)])
def test_reciprocal_probabilities_count_the_coalitions_there_are(design, n_players, budget):
    """The estimate of Horvitz and Thompson of a sum over all coalitions of one."""
    estimates = [
        np.exp(-design(budget, seed).sample(n_players).log_probabilities).mean()
        for seed in range(100)
    ]
    error = 4 * np.std(estimates) / np.sqrt(len(estimates))
    there_are = 2**n_players - 2
    assert abs(np.mean(estimates) - there_are) < error + 0.02 * there_are


@pytest.mark.parametrize("design", PROPER_AND_DISTINCT)
@pytest.mark.parametrize("n_players", [2, 3, 4, 9, 12])
def test_all_coalitions_are_equally_likely_once_all_are_drawn(design, n_players):
    sample = design(2**n_players - 2, 4).sample(n_players)
    np.testing.assert_allclose(sample.log_probabilities, -log(len(sample)), rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------ both ends early


@pytest.mark.parametrize("n_players", [3, 4, 9, 300])
def test_everybody_alone_and_everybody_else_come_early(n_players):
    coalitions = ends_and_pairs(4 * n_players, 3).sample(n_players).coalitions
    halves, sizes = coalitions[::2], coalitions.sum(axis=1)[::2]
    np.testing.assert_array_equal(coalitions[1::2], ~halves)
    at_end = (sizes == 1) | (sizes == n_players - 1)
    taking_turns = n_players // 2 if n_players > 3 else 0  # of three, all pairs are ends
    soon = n_players + taking_turns
    assert at_end[: 2 * taking_turns].tolist() == [False, True] * taking_turns
    assert at_end[2 * taking_turns : soon].all()
    assert not at_end[soon:].any()
    alone = halves[at_end]
    assert np.all(alone.sum(axis=1) == 1)
    assert np.all(alone.any(axis=0)), "somebody is not alone"


def test_two_players_are_each_others_complement():
    coalitions = ends_and_pairs(10, 3).sample(2).coalitions
    assert sorted(coalitions.tolist()) == [[False, True], [True, False]]


def test_who_is_alone_first_is_random():
    first = [ends_and_pairs(3, seed).sample(6).coalitions[2].argmax() for seed in range(600)]
    assert chisquare(np.bincount(first, minlength=6)).pvalue > 0.01


def test_ends_that_are_sure_to_come_have_the_same_probability():
    sample = ends_and_pairs(100, 3).sample(9)
    ends = np.isin(sizes_of(sample), (1, 8))
    np.testing.assert_allclose(sample.log_probabilities[ends], -log(100), rtol=0, atol=1e-12)
    assert ends.sum() == 18
    assert np.all(sample.log_probabilities[~ends] < -log(100))


def test_the_ends_do_not_change_the_law_of_the_sizes_between_them():
    sizes = [sizes_of(ends_and_pairs(1000, seed).sample(30))[60::2] for seed in range(12)]
    observed = np.bincount(np.concatenate(sizes), minlength=31)[5:26]
    assert chisquare(observed).pvalue > 0.01


# ------------------------------------------------------------------------------ no coalition twice


@pytest.mark.parametrize("design", DISTINCT)
@pytest.mark.parametrize(("n_players", "budget"), [(7, 30), (12, 900), (300, 150)])
def test_no_coalition_comes_twice(design, n_players, budget):
    assert len(set(keys(design(budget, 3).sample(n_players).coalitions))) == budget


@pytest.mark.parametrize("design", PROPER_AND_DISTINCT)
@pytest.mark.parametrize("n_players", [2, 3, 4, 7, 8])
def test_a_large_budget_stops_when_every_proper_coalition_is_drawn(design, n_players):
    sample = design(10**6, 0).sample(n_players)
    everything = set(keys(all_coalitions(n_players)[1:-1]))
    assert len(sample) == len(sample.log_probabilities) == 2**n_players - 2
    assert set(keys(sample.coalitions)) == everything
    exactly = design(2**n_players - 2, 0).sample(n_players)
    np.testing.assert_array_equal(exactly.coalitions, sample.coalitions)


@pytest.mark.parametrize("design", PAIRED)
@pytest.mark.parametrize(("n_players", "budget"), [(4, 14), (9, 100), (100, 80)])
def test_every_coalition_is_followed_by_its_complement(design, n_players, budget):
    sample = design(budget, 5).sample(n_players)
    np.testing.assert_array_equal(sample.coalitions[1::2], ~sample.coalitions[::2])
    np.testing.assert_allclose(
        sample.log_probabilities[1::2], sample.log_probabilities[::2], rtol=1e-12
    )


@pytest.mark.parametrize("design", PAIRED)
def test_an_odd_budget_ends_with_half_a_pair(design):
    odd, even = (design(budget, 5).sample(9).coalitions for budget in (31, 32))
    assert len(odd) == 31
    np.testing.assert_array_equal(odd[-1], ~even[-1])


# ------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("design", "law"), [(uniform_pairs, np.full(29, 1 / 29)), (PairedKernel, kernel_law(30))]
)
def test_sizes_of_pairs_follow_their_law(design, law):
    # Repeats are skipped, so only sizes with far more coalitions than draws show the law itself.
    halves = np.concatenate([sizes_of(design(2000, seed).sample(30))[::2] for seed in range(8)])
    middle = slice(5, 24)
    observed = np.bincount(halves, minlength=31)[1:30][middle]
    expected = law[middle] / law[middle].sum() * observed.sum()
    assert observed.sum() > 1000
    assert chisquare(observed, expected).pvalue > 0.01


@pytest.mark.parametrize("design", [*PAIRED, stratified])
def test_subsets_of_a_size_are_uniform(design):
    coalitions = np.concatenate([design(14, seed).sample(5).coalitions for seed in range(400)])
    twos = coalitions[coalitions.sum(axis=1) == 2]
    _, observed = np.unique(twos, axis=0, return_counts=True)
    assert len(observed) == comb(5, 2)
    assert chisquare(observed).pvalue > 0.01


@pytest.mark.parametrize("n_players", [10, 11])
def test_strata_hold_every_size_equally_often(n_players):
    rounds = 4
    alone = sizes_of(stratified(rounds * (n_players - 1), 0).sample(n_players))
    np.testing.assert_array_equal(alone, np.tile(np.arange(1, n_players), rounds))
    paired = sizes_of(stratified_pairs(2 * rounds * (n_players - 1), 0).sample(n_players))
    np.testing.assert_array_equal(paired[::2], np.tile(np.arange(1, n_players), rounds))
    np.testing.assert_array_equal(np.bincount(paired)[1:], 2 * rounds)


def test_an_exhausted_stratum_is_passed_over():
    sizes = sizes_of(stratified(4 * 3 + 2, 0).sample(4))
    assert sizes.tolist() == [1, 2, 3] * 4 + [2, 2]


@pytest.mark.parametrize(
    ("alpha", "n_players", "size"), [(0.5, 7, 3), (0.29, 100, 29), (0.25, 258, 64), (0.75, 4, 3)]
)
def test_fixed_size_rounds_the_share_down(alpha, n_players, size):
    sample = FixedSize(alpha, 25, 0).sample(n_players)
    assert set(sizes_of(sample)) == {size}
    assert len(sample) == min(25, comb(n_players, size))


def test_fixed_size_refuses_a_share_that_is_none_or_all():
    for alpha in (0.0, 1.0, -0.5):
        with pytest.raises(ConfigError, match=r"^design\.alpha: expected .* between 0 and 1"):
            FixedSize(alpha, 10, 0)
    with pytest.raises(ConfigError, match=r"^design\.alpha: .* one of 9 contributors.* got 0\.1"):
        FixedSize(0.1, 10, 0).sample(9)


# ------------------------------------------------------------------------------ orders


def test_an_order_adds_one_player_at_a_time():
    n_players = 8
    rows = orders(5 * 7, 2).sample(n_players).coalitions.reshape(5, 7, n_players)
    assert np.all(rows.sum(axis=2) == np.arange(1, n_players))
    assert not np.any(rows[:, :-1] & ~rows[:, 1:]), "somebody left"
    assert len(np.unique(rows.reshape(5, -1), axis=0)) == 5


def test_an_antithetic_order_is_the_one_before_reversed():
    rows = antithetic_orders(6 * 7, 2).sample(8).coalitions.reshape(3, 2, 7, 8)
    np.testing.assert_array_equal(rows[:, 1], ~rows[:, 0, ::-1])
    # The first of each two are the orders that are drawn without antithetic ones.
    np.testing.assert_array_equal(rows[:, 0].reshape(-1, 8), orders(3 * 7, 2).sample(8).coalitions)


def test_marginal_contributions_along_orders_are_unbiased():
    """Over all orders the gain of a player averages to the Shapley value: here a glove game."""
    n_orders = 4000
    rows = orders(2 * n_orders, 0).sample(3).coalitions.reshape(n_orders, 2, 3)
    ends = np.zeros((n_orders, 1, 3), bool), np.ones((n_orders, 1, 3), bool)
    chain = np.concatenate([ends[0], rows, ends[1]], axis=1)
    values = chain[..., 0] & (chain[..., 1] | chain[..., 2])  # one left glove, two right ones
    gains = np.diff(values.astype(float), axis=1)
    joined = np.diff(chain.astype(int), axis=1)
    shapley = (gains[:, :, None] * joined).sum(axis=1).mean(axis=0)
    np.testing.assert_allclose(shapley, [2 / 3, 1 / 6, 1 / 6], atol=4 * 0.5 / np.sqrt(n_orders))


# ------------------------------------------------------------------------------ many contributors


@pytest.mark.parametrize(
    ("design", "law"),
    [
        (uniform_pairs, np.full(1099, 1 / 1099)),
        (PairedKernel, kernel_law(1100)),
        *((design, np.full(60, 1 / 60)) for design in (orders, stratified)),  # the first sizes
        (ends_and_pairs, [1 / 4, *np.full(1097, 1 / 2 / 1097), 1 / 4]),
    ],
)
def test_log_probabilities_are_right_where_binomials_overflow(design, law):
    n = 1100
    sample = design(60, 0).sample(n)
    for size, log_probability in zip(sizes_of(sample), sample.log_probabilities, strict=True):
        size = int(size)
        # Of distinct coalitions, one that may well come twice is a little less likely.
        expected = log(law[size - 1]) - log(comb(n, size))
        assert log_probability == pytest.approx(expected, rel=1e-10, abs=1e-2)


@pytest.mark.parametrize("design", [*PAIRED, orders])
def test_ten_thousand_coalitions_of_a_thousand_contributors_are_drawn(design):
    sample = design(10_000, 0).sample(1000)
    assert sample.coalitions.shape == (10_000, 1000)
    assert np.isfinite(sample.log_probabilities).all()


def test_other_log_probabilities_are_right_where_binomials_overflow():
    n = 1100
    half = lgamma(n + 1) - 2 * lgamma(n // 2 + 1)
    np.testing.assert_allclose(fixed_size(3, 0).sample(n).log_probabilities, -half, rtol=1e-12)
    np.testing.assert_allclose(Bernoulli(3, 0).sample(n).log_probabilities, -n * log(2))


@pytest.mark.parametrize("design", [stratified, stratified_pairs])
def test_strata_are_drawn_independently_of_each_other(design):
    """A contributor alone is among the next two with probability 2 / n, as any other is."""
    n, step = 8, 2 if design is stratified_pairs else 1
    drawn = [design(2 * step, seed).sample(n).coalitions[::step] for seed in range(300)]
    inside = sum(int((one <= two).all()) for one, two in drawn)
    assert chisquare([inside, 300 - inside], [300 * 2 / n, 300 * (1 - 2 / n)]).pvalue > 0.001
