from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from crediting.design import Exhaustive
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Bayesian, Exact, KernelShap, RegressionAdjusted
from crediting.game.coalition import coalition_key
from crediting.game.enumeration import shapley_values
from crediting.game.game import play
from crediting.game.noise import noise_of_means
from crediting.game.toy import Additive, Airport, Gloves, SymmetricMajority, UnanimitySum

EXACT = Exact(confidence=0.95)
BAYESIAN = Bayesian(0.95, 10.0, 2.0, None)
ADJUSTED = RegressionAdjusted(
    confidence=0.95, folds=5, seed=0, trees=50, depth=5, learning_rate=0.2, smallest_leaf=5
)
GAMES = [
    Additive((1.0, -2.5)),
    Gloves(3, 5),
    Airport((1.0, 8.0, 2.0, 2.0, 5.0, 0.0)),
    SymmetricMajority(9),
    UnanimitySum.random(16, (16, 40, 40, 20, 10), seed=1),
]


def permuted(sample, order):
    return replace(
        sample,
        coalitions=sample.coalitions[order],
        log_probabilities=sample.log_probabilities[order],
        utilities=sample.utilities[order],
    )


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)
def test_toy_games_get_their_known_values(game):
    attribution = EXACT(play(game, Exhaustive().sample(game.n_players)))
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-9)
    assert abs(attribution.efficiency_gap) < 1e-9


def test_an_offset_of_all_utilities_changes_nothing():
    game = GAMES[2]
    sample = play(game, Exhaustive().sample(game.n_players))
    offset = replace(
        sample,
        utilities=sample.utilities + 100,
        v_empty=sample.v_empty + 100,
        v_full=sample.v_full + 100,
    )
    np.testing.assert_allclose(EXACT(offset).credits, EXACT(sample).credits, rtol=0, atol=1e-12)


def test_there_is_no_uncertainty():
    attribution = EXACT(play(GAMES[1], Exhaustive().sample(8)))
    assert np.all(attribution.std_errors == 0)
    np.testing.assert_array_equal(attribution.ci_low, attribution.credits)
    np.testing.assert_array_equal(attribution.ci_high, attribution.credits)
    assert attribution.estimator == "exact"
    assert attribution.n_coalitions == 256 == EXACT.minimum_coalitions(8)


def test_order_of_rows_does_not_matter():
    sample = play(UnanimitySum.random(7, (7, 9, 9), seed=2), Exhaustive().sample(7))
    order = np.random.default_rng(0).permutation(len(sample))
    np.testing.assert_allclose(
        EXACT(permuted(sample, order)).credits, EXACT(sample).credits, rtol=0, atol=1e-12
    )


def test_repeated_coalitions_count_by_their_mean():
    sample = play(Gloves(2, 2), Exhaustive().sample(4))
    everything = np.arange(16)
    twice = permuted(sample, np.concatenate([everything, everything]))
    noise = np.random.default_rng(0).normal(size=16)
    noisy = replace(twice, utilities=twice.utilities + np.concatenate([noise, -noise]))
    np.testing.assert_allclose(
        EXACT(noisy).credits, Gloves(2, 2).shapley_values, rtol=0, atol=1e-12
    )


def test_too_few_coalitions_are_refused():
    sample = permuted(play(Gloves(2, 2), Exhaustive().sample(4)), np.arange(1, 16))
    with pytest.raises(LedgerError, match=r"all 2\^4 coalitions, got 15; .*design=exhaustive"):
        EXACT(sample)


def test_missing_coalitions_are_named():
    rows = np.arange(16)
    rows[5] = 6
    sample = play(Gloves(2, 2), Exhaustive().sample(4))
    missing = coalition_key(sample.coalitions[5])
    with pytest.raises(LedgerError, match=f"1 are missing, for instance {missing}; "):
        EXACT(permuted(sample, rows))


def weights_from_all_orders(n_players):
    """The weight of every coalition in every Shapley value, counted over all orders of arrival."""
    weights = np.zeros((n_players, 2**n_players))
    orders = list(permutations(range(n_players)))
    for order in orders:
        arrived = 0
        for player in order:
            weights[player, arrived] -= 1 / len(orders)
            arrived += 1 << player
            weights[player, arrived] += 1 / len(orders)
    return weights


@pytest.mark.parametrize("n_players", [2, 3, 6])
def test_measured_noise_is_the_standard_error(n_players):
    game = UnanimitySum.random(n_players, (n_players, 3), seed=3)
    attribution = EXACT(play(game, Exhaustive().sample(n_players), noise_variance=0.3))
    weights = weights_from_all_orders(n_players)
    covariance = 0.3 * weights @ weights.T
    expected = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(attribution.noise_errors, expected, rtol=1e-12)
    np.testing.assert_allclose(attribution.std_errors, expected, rtol=1e-12)
    reach = attribution.ci_high - attribution.credits
    np.testing.assert_allclose(reach, 1.959964 * expected, rtol=1e-6)
    drawn = np.cov(attribution.draws.T)
    np.testing.assert_allclose(drawn, covariance, rtol=0, atol=0.1 * covariance.max())


@pytest.mark.parametrize(
    "estimator", [Bayesian(0.95, 2.0, 1.0, None), KernelShap(0.95, 100, 0)], ids=lambda e: e.name
)
def test_whoever_has_all_coalitions_knows_ranks_as_well(estimator):
    sample = play(Airport(range(1, 7)), Exhaustive().sample(6), noise_variance=0.3)
    found, exact = estimator(sample), Exact(0.95)(sample)
    np.testing.assert_allclose(found.credits, exact.credits, atol=1e-9)
    np.testing.assert_allclose(found.std_errors, exact.std_errors)
    np.testing.assert_allclose(found.rank_probabilities(), exact.rank_probabilities(), atol=0.002)


def test_ranks_of_exact_values_are_certain():
    found = EXACT(play(Airport((5.0, 1.0, 3.0)), Exhaustive().sample(3)))
    np.testing.assert_array_equal(found.rank_probabilities(), np.eye(3)[[0, 2, 1]])
    np.testing.assert_array_equal(found.top_probabilities(1), [1, 0, 0])
    assert found.rank_stability() == 1


def test_shares_of_nothing_are_unknown():
    sample = play(Additive((1.0, -0.7, -0.3)), Exhaustive().sample(3))
    found = Exact(0.95)(sample)
    assert np.isnan(found.shares).all()
    half = replace(found, credits=np.array([1e-12, 3e-12]))
    np.testing.assert_allclose(half.shares, [0.25, 0.75])


def test_noise_that_nobody_measured_is_unknown():
    attribution = EXACT(play(GAMES[1], Exhaustive().sample(8)))
    assert np.isnan(attribution.noise_errors).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(ConfigError, match=rf"estimator\.confidence: .* got {confidence}; "):
        Exact(confidence)


@pytest.mark.parametrize(("n_players", "twice"), [(2, "all"), (3, "ends"), (3, "all")])
def test_intervals_allow_for_noise_that_is_barely_known(n_players, twice):
    """Few degrees of freedom are a matter of Student's distribution, not of the normal one."""
    sample = play(Additive(tuple(range(n_players))), Exhaustive().sample(n_players))
    truth = shapley_values(sample.utilities)
    counts = np.full(2**n_players, 2)
    counts[1:-1] = 2 if twice == "all" else 1
    which = np.arange(2**n_players).repeat(counts)
    inside = []
    for seed in range(2000):
        values = sample.utilities[which] + np.random.default_rng(seed).normal(size=len(which))
        means = np.bincount(which, values) / counts
        variance, degrees = noise_of_means(values, which, None)
        seen = replace(
            sample,
            utilities=means,
            v_empty=means[0],
            v_full=means[-1],
            noise_variance=variance,
            noise_degrees=degrees,
        )
        for estimator in (EXACT, BAYESIAN, ADJUSTED):
            found = estimator(seen)
            inside.append(((found.ci_low <= truth) & (truth <= found.ci_high)).mean())
    assert 0.93 < np.mean(inside) < 0.97
