import itertools
import math
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.stats import multivariate_normal

from crediting.design import PairedUniform
from crediting.errors import LedgerError
from crediting.game import EvaluatedSample, Sample, play
from crediting.game.coalition import all_coalitions
from crediting.game.recorded import read_recorded
from crediting.game.toy import Additive, Airport, UnanimitySum
from crediting.interactions.model import (
    SIGNALS,
    STEEPNESSES,
    PairSums,
    Prior,
    likeliest_prior,
    posterior,
)
from crediting.interactions.pairwise import (
    interactions,
    minimum_coalitions,
    shapley_interactions,
)

DIGITS_GAME = Path(__file__).parents[2] / "benchmarks" / "estimators" / "digits_game.csv"


def by_definition(values, n):
    """Return the interactions of a game given as {members: utility}, by the sum over subsets."""
    result = np.full((n, n), np.nan)
    for i, j in itertools.combinations(range(n), 2):
        total, others = 0.0, [k for k in range(n) if k not in (i, j)]
        for size in range(n - 1):
            weight = math.factorial(size) * math.factorial(n - size - 2) / math.factorial(n - 1)
            for rest in map(frozenset, itertools.combinations(others, size)):
                joint = values[rest | {i, j}] - values[rest | {i}] - values[rest | {j}]
                total += weight * (joint + values[rest])
        result[i, j] = result[j, i] = total
    return result


def random_game(n, seed=0):
    rng = np.random.default_rng(seed)
    utilities = rng.normal(size=2**n)
    return lambda coalitions: utilities[coalitions @ (1 << np.arange(n))]


def as_sets(game, n):
    rows = all_coalitions(n)
    members = [frozenset(np.flatnonzero(row).tolist()) for row in rows]
    return dict(zip(members, game(rows), strict=True))


def everything(game, n, noise_variance=math.nan):
    proper = all_coalitions(n)[1:-1]
    return play(game, Sample(proper, np.zeros(len(proper))), noise_variance)


def paired(game, n, budget, seed=0, ends=True, noise_variance=math.nan):
    return play(game, PairedUniform(budget, seed, ends).sample(n), noise_variance)


def quadratic(n, seed=0, scale=1.0):
    """A game of second order with a size effect: weights, couples and a curve; its interactions."""
    rng = np.random.default_rng(seed)
    weights, couples = rng.normal(size=n), np.triu(scale * rng.normal(size=(n, n)), 1)

    def game(coalitions):
        c = coalitions.astype(float)
        return 5 + c @ weights + np.einsum("mi,ij,mj->m", c, couples, c) + 7 * c.mean(axis=1) ** 2

    values = couples + couples.T + 14 / n**2
    np.fill_diagonal(values, np.nan)
    return game, values


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


# ------------------------------------------------------------------------------ all coalitions


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_exact_interactions_are_those_of_the_definition(n):
    game = random_game(n, seed=n)
    found = interactions(everything(game, n))
    np.testing.assert_allclose(found.values, by_definition(as_sets(game, n), n), atol=1e-12)
    assert found.exact
    assert found.n_coalitions == 2**n
    assert np.all(upper(found.std_errors) == 0)


def test_exact_interactions_agree_with_shapiq():
    shapiq = pytest.importorskip("shapiq")
    n, game = 5, random_game(5)
    computer = shapiq.ExactComputer(game, n_players=n)
    theirs = computer("SII", order=2)
    found = shapley_interactions(game(all_coalitions(n)))
    for i, j in itertools.combinations(range(n), 2):
        assert found[i, j] == pytest.approx(theirs[(i, j)])


def test_a_carrier_shares_its_weight_among_its_pairs():
    # Grabisch and Roubens: the interaction of two members of a carrier of k is weight / (k - 1).
    game = UnanimitySum(6, ((0, 1, 2, 3), (4, 5)), (3.0, -2.0))
    values = shapley_interactions(game(all_coalitions(6)))
    expected = np.zeros((6, 6))
    expected[:4, :4], expected[4:, 4:] = 1.0, -2.0
    np.testing.assert_allclose(upper(values), upper(expected), atol=1e-12)


def test_a_duplicate_is_redundant_and_additive_players_do_not_interact():
    best_of = interactions(everything(Airport((2.0, 2.0)), 2))
    assert best_of.values[0, 1] == -2
    apart = interactions(everything(Additive((1.0, 2.0, 3.0)), 3))
    np.testing.assert_allclose(upper(apart.values), 0, atol=1e-12)


def test_exact_errors_are_those_of_measured_noise():
    n, sigma = 4, 0.3
    rng = np.random.default_rng(0)
    draws = [upper(shapley_interactions(rng.normal(0, sigma, 2**n))) for _ in range(4000)]
    found = interactions(everything(random_game(n), n, noise_variance=sigma**2))
    np.testing.assert_allclose(np.std(draws, axis=0), upper(found.std_errors), rtol=0.05)


# ------------------------------------------------------------------------------ some coalitions


def dense_posterior(pairs, n, signal, steepness, noise):
    """Return means and variances by conditioning the joint normal of every pair of a game.

    Independent of closed forms: the covariance of all sums, then the weights of the definition.
    """
    rows = all_coalitions(n)
    rows = rows[rows[:, 0] & ~rows.all(axis=1)]
    signs, sizes = np.where(rows, 1.0, -1.0), rows.sum(axis=1)
    i, j = np.triu_indices(n, 1)
    products = signs[:, i] * signs[:, j] * math.sqrt(signal / math.comb(n, 2))
    flat = signs.mean(axis=1, keepdims=True) ** np.array([0, 2, 4])
    rests = (n**2 / (4 * sizes * (n - sizes))) ** float(steepness)
    smooth = products @ products.T + 1e7 * flat @ flat.T
    of_game = smooth + np.diag(np.clip(rests - noise, 0, None))
    weights = []
    for row in [*rows, np.ones(n, bool)]:
        game = {frozenset(np.flatnonzero(r).tolist()): 0.0 for r in all_coalitions(n)}
        game[frozenset(np.flatnonzero(row).tolist())] = 1.0
        weights.append(upper(by_definition(game, n)))
    weights, end = np.array(weights[:-1]), weights[-1]
    number = {row.tobytes(): k for k, row in enumerate(rows)}
    seen = [number[(half > 0).tobytes()] for half in pairs.signs]
    observed = (smooth + np.diag(rests))[np.ix_(seen, seen)]
    gain = np.linalg.solve(observed, (of_game @ weights)[seen]).T
    means = gain @ pairs.sums + end * pairs.grand
    variances = np.diag(weights.T @ of_game @ weights - gain @ (of_game @ weights)[seen])
    return means, variances + noise * end**2


@pytest.mark.parametrize(("signal", "steepness", "noise"), [(3.0, 0, 0.0), (20.0, 2, 0.4)])
def test_the_posterior_is_that_of_all_coalitions_given_some(signal, steepness, noise):
    n, count = 6, 20
    rng = np.random.default_rng(1)
    rows = all_coalitions(n)
    rows = rng.permutation(rows[rows[:, 0] & ~rows.all(axis=1)])[:count]
    pairs = PairSums(np.where(rows, 1.0, -1.0), rng.normal(size=count), 1.7)
    values, errors = posterior(pairs, Prior(signal, steepness, 1.0), noise)
    means, variances = dense_posterior(pairs, n, signal, steepness, noise)
    np.testing.assert_allclose(upper(values), means, atol=1e-4)
    np.testing.assert_allclose(upper(errors) ** 2, variances, atol=1e-4)


@pytest.mark.parametrize("ends", [True, False])
def test_a_game_of_second_order_is_recovered(ends):
    n = 8
    game, expected = quadratic(n)
    found = interactions(paired(game, n, 100, ends=ends))
    assert not found.exact
    assert found.n_coalitions == 100
    np.testing.assert_allclose(upper(found.values), upper(expected), atol=0.25)
    assert np.corrcoef(upper(found.values), upper(expected))[0, 1] > 0.995


@pytest.mark.parametrize(("n", "budget"), [(4, 12), (5, 20), (7, 60)])
def test_interactions_of_everybody_sum_to_last_less_first_marginal_contribution(n, budget):
    # sum_j I_ij = [v(N) - v(N - i)] - [v(i) - v(empty)]: known once singles are evaluated.
    game = random_game(n, seed=7)
    found = interactions(paired(game, n, budget))
    assert not found.exact
    whole, alone = np.ones((1, n), bool), np.eye(n, dtype=bool)
    expected = game(whole) - game(~alone) - game(alone) + game(~whole)
    np.testing.assert_allclose(np.nansum(found.values, axis=1), expected, atol=1e-9)


def test_neither_the_order_of_rows_nor_lone_or_repeated_ones_change_anything():
    n, game = 6, random_game(6)
    sample = paired(game, n, 40)
    found = interactions(sample)
    lone = next(r for r in all_coalitions(n)[1:-1] if not (sample.coalitions == r).all(1).any())
    order = np.random.default_rng(0).permutation(40)
    rows = np.vstack([sample.coalitions[order], sample.coalitions[:3], lone])
    again = interactions(
        EvaluatedSample(
            rows, np.zeros(44), game(rows), sample.v_empty, sample.v_full, sample.noise_variance
        )
    )
    np.testing.assert_array_equal(found.values, again.values)
    assert again.n_coalitions == 40


@pytest.mark.parametrize("sample", [everything(random_game(5), 5), paired(random_game(6), 6, 36)])
def test_ends_among_the_rows_change_nothing(sample):
    n = sample.n_players
    both = np.array([[False] * n, [True] * n])
    with_ends = replace(
        sample,
        coalitions=np.vstack([both, sample.coalitions]),
        utilities=np.append([sample.v_empty, sample.v_full], sample.utilities),
        log_probabilities=np.zeros(len(sample) + 2),
    )
    expected, found = interactions(sample), interactions(with_ends)
    assert found.exact == expected.exact
    np.testing.assert_allclose(found.values, expected.values, atol=1e-9)
    np.testing.assert_array_equal(found.std_errors, found.std_errors.T)


def test_the_prior_is_the_likeliest_by_the_density_of_normal_numbers():
    n, rng = 8, np.random.default_rng(0)
    signs = np.where(PairedUniform(80, 0, ends=True).sample(n).coalitions[::2], 1.0, -1.0)
    sizes = (signs > 0).sum(axis=1)
    pairwise = np.array([row[:, None] * row for row in signs])[:, *np.triu_indices(n, 1)]
    rests = n**2 / (4 * sizes * (n - sizes))
    sums = pairwise @ rng.normal(size=comb(n, 2)) / 4 + rests**1.5 * rng.normal(size=len(signs))
    contrasts = null_space(np.stack([signs.mean(axis=1) ** power for power in (0, 2, 4)]))
    seen = contrasts.T @ sums

    def density(signal, steepness):
        mixed = signal * pairwise @ pairwise.T / comb(n, 2) + np.diag(rests**steepness)
        covariance = contrasts.T @ mixed @ contrasts
        scale = seen @ np.linalg.solve(covariance, seen) / len(seen)
        return multivariate_normal.logpdf(seen, cov=scale * covariance)

    likeliest = max(itertools.product(SIGNALS, STEEPNESSES), key=lambda prior: density(*prior))
    assert likeliest_prior(PairSums(signs, sums, 0.0))[:2] == pytest.approx(likeliest)


@pytest.mark.parametrize("noise_variance", [math.nan, 0.3])
def test_the_unit_of_the_property_does_not_matter(noise_variance):
    n, game = 6, random_game(6)
    found = interactions(paired(game, n, 40, noise_variance=noise_variance))
    scaled = interactions(
        paired(lambda c: 1e3 * game(c) + 5e3, n, 40, noise_variance=1e6 * noise_variance)
    )
    np.testing.assert_allclose(scaled.values, 1e3 * found.values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scaled.std_errors, 1e3 * found.std_errors, rtol=1e-5)


def test_a_game_that_is_constant_or_additive_has_no_interactions():
    for weights in ((0.0,) * 6, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)):
        found = interactions(paired(Additive(weights), 6, 40))
        np.testing.assert_allclose(upper(found.values), 0, atol=1e-9)
        np.testing.assert_allclose(upper(found.std_errors), 0, atol=1e-9)


def test_of_too_many_pairs_singles_are_kept(monkeypatch):
    n, game = 7, random_game(7)
    monkeypatch.setattr("crediting.interactions.pairwise.MOST_PAIRS", 30)
    found = interactions(paired(game, n, 100))
    assert found.n_coalitions == 60
    whole, alone = np.ones((1, n), bool), np.eye(n, dtype=bool)
    expected = game(whole) - game(~alone) - game(alone) + game(~whole)
    np.testing.assert_allclose(np.nansum(found.values, axis=1), expected, atol=1e-9)


def test_the_noise_of_a_sum_is_twice_that_of_a_utility():
    sample = paired(random_game(7), 7, 60, noise_variance=0.2)
    half, other = sample.coalitions[::2], sample.utilities[1::2]
    assert (half ^ sample.coalitions[1::2]).all()
    grand = sample.v_empty + sample.v_full
    pairs = PairSums(np.where(half, 1.0, -1.0), sample.utilities[::2] + other, grand)
    expected = posterior(pairs, likeliest_prior(pairs), 0.4)
    found = interactions(sample)
    np.testing.assert_allclose(found.values, expected[0], atol=1e-9)
    np.testing.assert_allclose(found.std_errors, expected[1], rtol=1e-9)


def test_errors_cover_the_interactions_behind_measured_noise():
    n, sigma, covered, errors = 10, 1.0, [], []
    for seed in range(30):
        game, expected = quadratic(n, seed, scale=0.7)
        sample = paired(game, n, 160, seed, noise_variance=sigma**2)
        rng = np.random.default_rng(seed)
        noisy = replace(
            sample,
            utilities=sample.utilities + sigma * rng.normal(size=len(sample)),
            v_empty=sample.v_empty + sigma * rng.normal(),
            v_full=sample.v_full + sigma * rng.normal(),
        )
        found = interactions(noisy)
        miss = upper(found.values) - upper(expected)
        covered += (np.abs(miss) < 1.96 * upper(found.std_errors)).tolist()
        errors.append(np.corrcoef(upper(found.values), upper(expected))[0, 1])
    assert 0.9 < np.mean(covered) < 0.99
    assert np.median(errors) > 0.8


@pytest.mark.parametrize("name", ["inception_score", "fid", "diversity"])
def test_at_the_minimum_the_digits_game_shows_who_goes_with_whom(name):
    game, n = read_recorded(DIGITS_GAME, None).of(name), 10
    exact = upper(interactions(everything(game, n)).values)
    few, more = [
        [
            np.corrcoef(upper(interactions(paired(game, n, budget, seed)).values), exact)[0, 1]
            for seed in range(5)
        ]
        for budget in (minimum_coalitions(n), 20 * n)
    ]
    assert np.median(few) > 0.75
    assert np.median(more) > 0.93


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_the_minimum_is_a_pair_of_coalitions_for_every_pair_of_contributors(n):
    budget = minimum_coalitions(n)
    assert budget == 2 * math.comb(n, 2)
    assert budget <= 2**n - 2  # so it can be met
    game = random_game(n)
    assert np.isfinite(upper(interactions(paired(game, n, budget)).values)).all()
    with pytest.raises(LedgerError):
        interactions(paired(game, n, budget - 1))


def test_too_few_pairs_are_refused_with_what_to_do():
    with pytest.raises(LedgerError) as caught:
        interactions(paired(random_game(8), 8, 41))
    assert str(caught.value) == (
        "interactions of 8 contributors need 28 distinct pairs of a coalition and its complement, "
        "there are 20 among 41 coalitions; "
        "evaluate more with design=paired_uniform design.budget=56."
    )


def test_coalitions_without_complements_are_no_pairs():
    n = 6
    half = all_coalitions(n)[: 2 ** (n - 1)]
    with pytest.raises(LedgerError, match="there are 0 among 32 coalitions"):
        interactions(play(random_game(n), Sample(half, np.zeros(len(half)))))


def test_a_single_contributor_has_nobody_to_interact_with():
    with pytest.raises(LedgerError, match="at least 2 contributors, got 1"):
        interactions(play(Additive((1.0,)), Sample(np.array([[True]]), np.zeros(1))))


def test_of_hundreds_of_contributors_it_says_that_they_are_too_many():
    game = Additive((1.0,) * 150)
    with pytest.raises(LedgerError, match="22,350 coalitions are out of reach"):
        interactions(paired(game, 150, 400))


def test_more_contributors_than_memory_allows_are_refused_at_once():
    n = 151
    rows = PairedUniform(minimum_coalitions(n), 0, ends=True).sample(n)
    with pytest.raises(LedgerError, match=r"interactions of 151 contributors, more than 150, take"):
        interactions(play(Additive((1.0,) * n), rows))
