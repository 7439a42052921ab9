from dataclasses import replace
from itertools import permutations
from math import comb

import numpy as np
import pytest
from samples import rows_of
from scipy.stats import t as student

from crediting import design
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Permutation
from crediting.game.game import Sample, play
from crediting.game.toy import Additive, Airport, Gloves, NoisyGame, UnanimitySum

ESTIMATOR = Permutation(confidence=0.95)
INTERACTIONS = UnanimitySum.random(7, (7, 10, 10), seed=5)


def played(game, orders, seed=0, antithetic=False, noise_variance=float("nan")):
    n = game.n_players
    sample = design.Permutation(orders * (n - 1), seed, antithetic).sample(n)
    return play(game, sample, noise_variance)


def gains_along(sample):
    """Marginal contributions (k, n) by walking through the rows, all orders being complete."""
    n = sample.n_players
    gains = []
    for start in range(0, len(sample), n - 1):
        before, worth, gain = np.zeros(n, bool), sample.v_empty, np.empty(n)
        for row in [*range(start, start + n - 1), None]:
            now = np.ones(n, bool) if row is None else sample.coalitions[row]
            utility = sample.v_full if row is None else sample.utilities[row]
            (joined,) = np.flatnonzero(now & ~before)
            gain[joined] = utility - worth
            before, worth = now, utility
        gains.append(gain)
    return np.array(gains)


@pytest.mark.parametrize(
    "game",
    [
        Additive((1.0, -2.5)),
        Gloves(2, 3),
        Airport((1.0, 8.0, 2.0)),
        UnanimitySum.random(6, (6, 9, 9, 4), seed=1),
    ],
    ids=lambda game: type(game).__name__,
)
def test_all_orders_give_the_exact_values(game):
    n = game.n_players
    places = np.array(list(permutations(range(n))))
    coalitions = (places[:, None, :] < np.arange(1, n)[:, None]).reshape(-1, n)
    attribution = ESTIMATOR(play(game, Sample(coalitions, np.zeros(len(coalitions)))))
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("antithetic", [False, True])
def test_credits_are_mean_gains_on_arrival_and_hand_out_everything(antithetic):
    sample = played(INTERACTIONS, 12, antithetic=antithetic)
    shifted = replace(sample, utilities=sample.utilities + 3, v_empty=3.0, v_full=sample.v_full + 3)
    for given in (sample, shifted):
        attribution = ESTIMATOR(given)
        expected = gains_along(sample).mean(axis=0)
        np.testing.assert_allclose(attribution.credits, expected, rtol=0, atol=1e-12)
        assert abs(attribution.efficiency_gap) < 1e-12
        np.testing.assert_allclose(
            attribution.draws.sum(axis=1), attribution.credits.sum(), rtol=0, atol=1e-6
        )


def test_standard_errors_are_those_of_a_mean_of_orders():
    sample = played(INTERACTIONS, 9)
    gains = gains_along(sample)
    errors = gains.std(axis=0, ddof=1) / 3
    attribution = ESTIMATOR(sample)
    np.testing.assert_allclose(attribution.std_errors, errors, rtol=1e-10)
    reach = student.ppf(0.975, 8) * errors
    np.testing.assert_allclose(attribution.ci_low, attribution.credits - reach, atol=1e-10)


def test_an_order_and_its_reverse_are_one_unit():
    sample = played(INTERACTIONS, 12, antithetic=True)
    twos = gains_along(sample).reshape(6, 2, 7).mean(axis=1)
    errors = twos.std(axis=0, ddof=1) / np.sqrt(6)
    attribution = ESTIMATOR(sample)
    np.testing.assert_allclose(attribution.std_errors, errors, rtol=1e-10)
    reach = student.ppf(0.975, 5) * errors
    np.testing.assert_allclose(attribution.ci_high, attribution.credits + reach, atol=1e-10)


def test_reverses_that_come_by_chance_are_orders_of_their_own():
    """With three contributors every sixth order is the reverse of the one before."""
    game = UnanimitySum.random(3, (3, 3, 1), seed=0)
    for seed in range(5):
        sample = played(game, 60, seed)
        errors = gains_along(sample).std(axis=0, ddof=1) / np.sqrt(60)
        np.testing.assert_allclose(ESTIMATOR(sample).std_errors, errors, rtol=1e-10)


@pytest.mark.parametrize(("orders", "antithetic"), [(1, False), (1, True), (2, True)])
def test_uncertainty_of_a_single_draw_is_unknown(orders, antithetic):
    attribution = ESTIMATOR(played(INTERACTIONS, orders, antithetic=antithetic))
    assert np.isnan(attribution.std_errors).all()
    assert np.isfinite(attribution.credits).all()


@pytest.mark.parametrize("antithetic", [False, True])
def test_incomplete_orders_are_left_out_and_told(antithetic):
    whole = played(INTERACTIONS, 8, antithetic=antithetic)
    without = rows_of(whole, [*range(12), *range(24, 48)])  # orders 0, 1, 4, 5, 6, 7
    lacking = rows_of(whole, np.delete(np.arange(48), [14, 23]))  # of orders 2 and 3
    found, expected = ESTIMATOR(lacking), ESTIMATOR(without)
    for field in ("credits", "std_errors", "ci_low"):
        np.testing.assert_allclose(
            getattr(found, field), getattr(expected, field), rtol=0, atol=1e-12
        )
    assert found.explanation.startswith("10 coalitions of incomplete orders")
    assert expected.explanation == ""
    assert found.n_coalitions == 46


def test_a_budget_that_ends_within_an_order_leaves_it_out():
    sample = played(INTERACTIONS, 5)
    cut = rows_of(sample, np.arange(4 * 6 + 3))
    expected = ESTIMATOR(rows_of(sample, np.arange(4 * 6)))
    np.testing.assert_array_equal(ESTIMATOR(cut).credits, expected.credits)
    np.testing.assert_array_equal(ESTIMATOR(cut).std_errors, expected.std_errors)


def test_an_order_of_an_antithetic_two_may_be_lost():
    sample = rows_of(played(INTERACTIONS, 12, antithetic=True), np.arange(6, 72))
    attribution = ESTIMATOR(sample)
    gains = gains_along(sample)
    np.testing.assert_allclose(attribution.credits, gains.mean(axis=0), rtol=0, atol=1e-12)
    assert np.all(attribution.std_errors > 0)


def test_no_complete_order_is_refused():
    sample = rows_of(played(INTERACTIONS, 1), np.arange(5))
    with pytest.raises(LedgerError, match=r"6 coalitions.* among 5; .*design=permutation"):
        ESTIMATOR(sample)


def test_reverses_lower_the_variance_on_a_monotone_game():
    game = Airport((1.0, 8.0, 2.0, 2.0, 5.0, 0.5))
    error = {
        antithetic: np.mean(
            [
                ((ESTIMATOR(played(game, 8, seed, antithetic)).credits - game.shapley_values) ** 2)
                for seed in range(100)
            ]
        )
        for antithetic in (False, True)
    }
    assert error[True] < 0.7 * error[False]


@pytest.mark.parametrize("antithetic", [False, True])
def test_intervals_hold_what_they_promise(antithetic):
    covered = []
    for seed in range(200):
        noisy = NoisyGame(INTERACTIONS, 0.3, seed)
        found = ESTIMATOR(played(noisy, 16, seed, antithetic, noise_variance=0.09))
        truth = INTERACTIONS.shapley_values
        covered.append((found.ci_low <= truth) & (truth <= found.ci_high))
    assert 0.91 < np.mean(covered) < 0.98


@pytest.mark.parametrize("n_players", [2, 3, 6])
@pytest.mark.parametrize("antithetic", [False, True])
def test_noise_errors_add_up_what_every_utility_moves(n_players, antithetic):
    game = UnanimitySum.random(n_players, (n_players, 3), seed=3)
    sample = played(game, 6, antithetic=antithetic, noise_variance=0.3)
    credits = ESTIMATOR(sample).credits
    moved = [
        ESTIMATOR(replace(sample, v_empty=sample.v_empty + 1)).credits - credits,
        ESTIMATOR(replace(sample, v_full=sample.v_full + 1)).credits - credits,
    ]
    for coalition in np.unique(sample.coalitions, axis=0):
        bump = (sample.coalitions == coalition).all(axis=1)
        bumped = replace(sample, utilities=sample.utilities + bump)
        moved.append(ESTIMATOR(bumped).credits - credits)
    expected = np.sqrt(0.3 * (np.array(moved) ** 2).sum(axis=0))
    np.testing.assert_allclose(ESTIMATOR(sample).noise_errors, expected, rtol=1e-9)


@pytest.mark.parametrize("orders", [2, 3])
def test_errors_are_not_below_those_of_the_noise(orders):
    for seed in range(10):
        game = UnanimitySum.random(6, (6, 3), seed=seed)
        found = ESTIMATOR(played(game, orders, antithetic=False, noise_variance=0.3))
        assert (found.std_errors >= found.noise_errors * (1 - 1e-12)).all()


@pytest.mark.parametrize("antithetic", [False, True])
def test_the_noise_of_the_mean_over_all_orders_is_added_to_the_spread(antithetic):
    """However many orders: it is that of exact Shapley values, every coalition with its weight."""
    noisy, plain = (
        ESTIMATOR(played(INTERACTIONS, 60, 0, antithetic, noise)) for noise in (0.3, float("nan"))
    )
    of_all_orders = 0.3 * sum(2 / (7**2 * comb(6, others)) for others in range(7))
    expected = np.maximum(plain.std_errors**2 + of_all_orders, noisy.noise_errors**2)
    np.testing.assert_allclose(noisy.std_errors**2, expected, rtol=1e-9)
    assert (noisy.std_errors > 1.01 * plain.std_errors).all()


def test_noise_that_nobody_measured_is_unknown():
    assert np.isnan(ESTIMATOR(played(INTERACTIONS, 5)).noise_errors).all()


def test_a_thousand_contributors():
    worth = np.linspace(0, 1, 1000)
    found = ESTIMATOR(played(Additive(tuple(worth)), 10, noise_variance=0.1))
    np.testing.assert_allclose(found.credits, worth, rtol=0, atol=1e-9)
    assert (found.noise_errors > 0).all()


def test_it_asks_for_one_order():
    assert ESTIMATOR.minimum_coalitions(17) == 16


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(ConfigError, match=rf"estimator\.confidence: .* got {confidence}; "):
        Permutation(confidence)
