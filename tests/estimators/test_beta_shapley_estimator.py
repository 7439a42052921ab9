from dataclasses import replace
from math import comb, factorial
from pathlib import Path

import numpy as np
import pytest
from samples import error, rows_of

from crediting.design import Bernoulli, Exhaustive, PairedKernel, PairedUniform, Stratified
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import BetaShapley, Exact, KernelShap
from crediting.estimators.regression.semivalues import beta_log_weights
from crediting.game.coalition import all_coalitions
from crediting.game.game import play
from crediting.game.recorded import read_recorded
from crediting.game.toy import Additive, Airport, Gloves, NoisyGame, SymmetricMajority, UnanimitySum

DIGITS_GAME = Path(__file__).parents[2] / "benchmarks" / "estimators" / "digits_game.csv"
INTERACTIONS = UnanimitySum.random(9, (9, 20, 20, 10), seed=5)
GAMES = [
    Additive((1.0, -2.5)),
    Gloves(1, 2),
    Gloves(3, 4),
    Airport((1.0, 8.0, 2.0, 2.0, 5.0, 0.0)),
    SymmetricMajority(7),
    INTERACTIONS,
]
PARAMETERS = [(1, 1), (16, 1), (1, 16), (4, 2), (0.5, 3.5)]


def beta_values(game, alpha, beta):
    """By enumeration, weights by integrating t^(s+b-1) (1-t)^(n-1-s+a-1) on a fine grid."""
    n = game.n_players
    t = (np.arange(200_000) + 0.5) / 200_000
    t = t**2 * (3 - 2 * t)  # denser at the ends, where densities may be infinite
    spacing = np.gradient(t)
    density = t ** (beta - 1) * (1 - t) ** (alpha - 1) * spacing
    law = [(density * t**s * (1 - t) ** (n - 1 - s)).sum() / density.sum() for s in range(n)]
    everything = all_coalitions(n)
    values = []
    for player in range(n):
        without = everything[~everything[:, player]]
        joined = without | (np.arange(n) == player)
        weights = np.array(law)[without.sum(axis=1)]
        values.append(weights @ (game(joined) - game(without)))
    return np.array(values)


# ------------------------------------------------------------------------------ the weights


@pytest.mark.parametrize(("alpha", "beta"), PARAMETERS)
@pytest.mark.parametrize("n_players", [2, 7, 300])
def test_weights_of_all_coalitions_of_others_sum_to_one(n_players, alpha, beta):
    log_weights = beta_log_weights(n_players, alpha, beta)
    total = sum(
        float(np.exp(log_weights[s] + np.log(float(comb(n_players - 1, s)))))
        for s in range(n_players)
    )
    assert total == pytest.approx(1)


def test_weights_of_beta_one_one_are_those_of_the_shapley_value():
    expected = [factorial(s) * factorial(5 - s) / factorial(6) for s in range(6)]
    np.testing.assert_allclose(np.exp(beta_log_weights(6, 1, 1)), expected, rtol=1e-12)


def test_weights_are_those_of_the_paper():
    """Kwon & Zou: w(j) = n (beta)_{j-1} (alpha)_{n-j} / (alpha + beta)_{n-1}, rising factorials."""

    def rising(x, k):
        return np.prod(x + np.arange(k))

    n, alpha, beta = 8, 16.0, 2.0
    expected = [
        rising(beta, j - 1) * rising(alpha, n - j) / rising(alpha + beta, n - 1)
        for j in range(1, n + 1)
    ]
    np.testing.assert_allclose(np.exp(beta_log_weights(n, alpha, beta)), expected, rtol=1e-12)


def test_a_large_alpha_weighs_small_coalitions_and_a_large_beta_large_ones():
    log_sets = np.log([comb(19, s) for s in range(20)])
    for alpha, beta in PARAMETERS:
        law = np.exp(beta_log_weights(20, alpha, beta) + log_sets)
        assert law @ np.arange(20) == pytest.approx(19 * beta / (alpha + beta))


# ------------------------------------------------------------------------------ exact


@pytest.mark.parametrize("game", GAMES, ids=repr)
@pytest.mark.parametrize(("alpha", "beta"), PARAMETERS)
def test_all_coalitions_give_the_exact_values(game, alpha, beta):
    found = BetaShapley(alpha, beta, 0.95)(play(game, Exhaustive().sample(game.n_players)))
    np.testing.assert_allclose(found.credits, beta_values(game, alpha, beta), rtol=1e-5, atol=1e-5)
    assert not found.std_errors.any()
    assert found.estimator == "beta_shapley"


@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_beta_one_one_is_the_shapley_value(game):
    sample = play(game, Exhaustive().sample(game.n_players))
    found = BetaShapley(1, 1, 0.95)(sample)
    np.testing.assert_allclose(found.credits, Exact(0.95)(sample).credits, rtol=0, atol=1e-9)


@pytest.mark.parametrize("budget", [40, 120])
def test_beta_one_one_hands_out_everything_from_any_sample(budget):
    sample = play(INTERACTIONS, PairedUniform(budget, 0, ends=True).sample(9))
    assert abs(BetaShapley(1, 1, 0.95)(sample).efficiency_gap) < 1e-9
    assert abs(BetaShapley(16, 1, 0.95)(sample).efficiency_gap) > 1e-3


@pytest.mark.parametrize(("alpha", "beta"), PARAMETERS)
@pytest.mark.parametrize(
    "design", [PairedUniform(100, 1, ends=True), Stratified(100, 1, paired=False)], ids=repr
)
def test_an_additive_game_is_recovered_from_few_coalitions(design, alpha, beta):
    game = Additive(tuple(np.linspace(-1, 3, 12)))
    found = BetaShapley(alpha, beta, 0.95)(play(game, design.sample(12)))
    np.testing.assert_allclose(found.credits, game.shapley_values, rtol=0, atol=1e-8)
    assert found.std_errors.max() < 1e-8


# ------------------------------------------------------------------------------ sampled


@pytest.mark.parametrize(
    "make",
    [
        lambda budget, seed: PairedUniform(budget, seed, ends=True),
        lambda budget, seed: PairedUniform(budget, seed, ends=False),
        PairedKernel,
        lambda budget, seed: Stratified(budget, seed, paired=False),
        Bernoulli,
    ],
    ids=["ends", "uniform", "kernel", "stratified", "bernoulli"],
)
@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (2, 1.5)])
def test_every_design_gets_closer_with_its_budget(make, alpha, beta):
    game = UnanimitySum.random(8, (8, 15, 15, 6), seed=2)
    values, estimator = beta_values(game, alpha, beta), BetaShapley(alpha, beta, 0.95)

    def median_error(budget):
        samples = [play(game, make(budget, seed).sample(8)) for seed in range(8)]
        return np.median([error(estimator(sample).credits, values) for sample in samples])

    assert median_error(240) < median_error(110) / 1.5
    assert median_error(240) < 0.2


def test_on_a_real_game_it_beats_the_papers_estimator_at_its_own_value():
    recorded = read_recorded(DIGITS_GAME, None)
    for name in recorded.properties:
        game = recorded.of(name)
        exact = Exact(0.95)(play(game, Exhaustive().sample(10))).credits
        samples = [play(game, PairedKernel(100, seed).sample(10)) for seed in range(10)]
        ours = np.median([error(BetaShapley(1, 1, 0.95)(s).credits, exact) for s in samples])
        theirs = np.median([error(KernelShap(0.95, 2, 0)(s).credits, exact) for s in samples])
        assert ours < 0.8 * theirs


def test_order_and_offset_change_nothing():
    sample = play(INTERACTIONS, PairedUniform(60, 0, ends=True).sample(9))
    again = rows_of(sample, np.random.default_rng(1).permutation(60))
    again = replace(
        again, utilities=again.utilities + 50, v_empty=again.v_empty + 50, v_full=again.v_full + 50
    )
    one, other = (BetaShapley(16, 1, 0.95)(s) for s in (sample, again))
    for field in ("credits", "std_errors", "ci_low", "ci_high"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=0, atol=1e-8)


# ------------------------------------------------------------------------------ uncertainty


def test_errors_are_those_of_leaving_out_every_unit_by_hand():
    estimator = BetaShapley(3, 1, 0.95)
    sample = play(INTERACTIONS, PairedUniform(61, 4, ends=True).sample(9))
    keys = [min(row.tobytes(), (~row).tobytes()) for row in sample.coalitions]
    units = sorted(set(keys))
    left_out = [
        estimator(rows_of(sample, [row for row, key in enumerate(keys) if key != unit])).credits
        for unit in units
    ]
    credits, g = estimator(sample).credits, len(units)
    by_hand = np.sqrt((g - 1) / g * ((left_out - credits) ** 2).sum(axis=0))
    np.testing.assert_allclose(estimator(sample).std_errors, by_hand, rtol=1e-7)


@pytest.mark.parametrize(("alpha", "beta", "scale"), [(1, 1, 0.0), (1, 1, 0.7), (3, 1, 0.7)])
def test_intervals_hold_what_they_promise(alpha, beta, scale):
    values, inside = beta_values(INTERACTIONS, alpha, beta), []
    v_full = INTERACTIONS(np.ones((1, 9), bool))[0]
    for seed in range(40):
        game = NoisyGame(INTERACTIONS, scale, seed)
        sample = replace(
            play(game, PairedUniform(90, seed, ends=False).sample(9)), v_empty=0.0, v_full=v_full
        )
        found = BetaShapley(alpha, beta, 0.95)(sample)
        inside.append((found.ci_low <= values) & (values <= found.ci_high))
    assert np.mean(inside) > 0.92


def test_noise_errors_of_exact_values_follow_from_their_weights():
    weights = np.exp(beta_log_weights(5, 4, 2))
    expected = np.sqrt(sum(2 * comb(4, s) * weights[s] ** 2 for s in range(5)))
    found = BetaShapley(4, 2, 0.95)(play(Gloves(2, 3), Exhaustive().sample(5), 0.25))
    np.testing.assert_allclose(found.noise_errors, 0.5 * expected, rtol=1e-9)
    np.testing.assert_allclose(found.std_errors, found.noise_errors)


# ------------------------------------------------------------------------------ what cannot be


def test_coalitions_that_are_too_unlike_those_of_the_value_are_refused():
    sample = play(Additive((1.0,) * 100), Bernoulli(1000, 0).sample(100))
    with pytest.raises(LedgerError, match=r"beta_shapley: .* needs 100, .*paired_kernel"):
        BetaShapley(16, 1, 0.95)(sample)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": 1.0}, r"estimator\.confidence"),
        ({"alpha": 0.0}, r"estimator\.alpha: expected a positive number, got 0\.0"),
        ({"beta": -1.0}, r"estimator\.beta: expected a positive number, got -1\.0"),
        ({"beta": float("nan")}, r"estimator\.beta: expected a positive number, got nan"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        BetaShapley(**{"alpha": 16, "beta": 1, "confidence": 0.95, **changes})


def test_minimum_is_what_pairs_need():
    assert BetaShapley(16, 1, 0.95).minimum_coalitions(10) == 22
