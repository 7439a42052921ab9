from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import ends_first

from crediting.design import (
    Bernoulli,
    Exhaustive,
    PairedKernel,
    PairedUniform,
    ShapleyKernel,
    Stratified,
)
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Exact, RegressionAdjusted, regression_adjusted
from crediting.estimators.pairs.differences import shapley_weights
from crediting.estimators.regression import odd as odd_regression
from crediting.estimators.regression.odd import best_penalty, decompose, observe
from crediting.game.coalition import all_coalitions
from crediting.game.enumeration import shapley_values
from crediting.game.game import Sample, play
from crediting.game.recorded import read_recorded
from crediting.game.toy import Additive, Airport, Gloves, NoisyGame, UnanimitySum

ESTIMATOR = RegressionAdjusted(
    confidence=0.95, folds=5, seed=0, trees=20, depth=4, learning_rate=0.2, smallest_leaf=5
)
WITHOUT_TREES = replace(ESTIMATOR, trees=1, learning_rate=1e-12)
INTERACTIONS = UnanimitySum.random(10, (10, 20, 20, 10), seed=5)
DESIGNS = [
    PairedUniform(60, 1, ends=True),
    PairedUniform(61, 1, ends=False),
    PairedKernel(60, 1),
    Stratified(60, 1, paired=True),
    Stratified(60, 1, paired=False),
    ShapleyKernel(60, 1),
    Bernoulli(60, 1),
]


def error(attribution, game):
    truth = game.shapley_values
    return ((attribution.credits - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()


@pytest.mark.parametrize("game", [Gloves(3, 4), INTERACTIONS, Additive((1.0, -2.5))], ids=type)
def test_all_coalitions_give_the_exact_values_without_error(game):
    found = ESTIMATOR(play(game, Exhaustive().sample(game.n_players), noise_variance=0.0))
    np.testing.assert_allclose(found.credits, game.shapley_values, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.std_errors, 0, atol=1e-6)


@pytest.mark.parametrize("players", [3, 5])
def test_of_all_coalitions_the_error_is_the_noise_of_all_utilities(players):
    """That of v(N) and v(empty) among them, which are in no pair."""
    sample = play(Airport(range(1, players + 1)), Exhaustive().sample(players), noise_variance=0.1)
    found, exact = ESTIMATOR(sample), Exact(0.95)(sample)
    np.testing.assert_allclose(found.std_errors, exact.std_errors, rtol=1e-6)
    np.testing.assert_allclose(found.noise_errors, exact.std_errors, rtol=1e-6)


def test_seeds_of_any_size_are_taken():
    sample = play(INTERACTIONS, PairedUniform(60, 1, ends=True).sample(10))
    large = [replace(ESTIMATOR, seed=seed)(sample).credits for seed in (20240711123, 2**70)]
    assert not np.array_equal(*large)


@pytest.mark.parametrize("design", DESIGNS, ids=repr)
def test_an_additive_game_is_recovered(design):
    game = Additive(tuple(np.linspace(-1, 3, 10)))
    found = ESTIMATOR(play(game, design.sample(10)))
    np.testing.assert_allclose(found.credits, game.shapley_values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("design", DESIGNS, ids=repr)
@pytest.mark.parametrize("budget", [1, 2, 3, 5, 12, 60])
def test_credits_are_efficient_and_errors_told_where_something_tells_them(design, budget):
    found = ESTIMATOR(play(INTERACTIONS, replace(design, budget=budget).sample(10)))
    assert abs(found.efficiency_gap) < 1e-9
    assert np.isfinite(found.credits).all()
    assert np.isfinite(found.std_errors).all() == (budget == 60)
    assert ("uncertainty is unknown" in found.explanation) == (budget < 60)


def test_trees_help_where_a_regression_cannot_follow():
    game = Airport(tuple(np.linspace(0, 5, 20)))
    samples = [play(game, PairedUniform(400, seed, True).sample(20)) for seed in range(6)]
    with_trees = replace(ESTIMATOR, trees=50)
    errors = [
        np.median([error(estimator(sample), game) for sample in samples])
        for estimator in (with_trees, WITHOUT_TREES)
    ]
    assert errors[0] < 0.8 * errors[1]


def test_trees_are_trusted_as_far_as_they_are_right():
    """By the slope of weighted least squares, neither against what they say nor beyond it."""
    generator = np.random.default_rng(0)
    truths, weights = generator.normal(size=40), generator.uniform(0.2, 1, size=40)
    predictions = 2 * truths + generator.normal(size=40)
    roots = np.sqrt(weights)
    slope = np.linalg.lstsq((roots * predictions)[:, None], roots * truths)[0]
    assert 0.2 < slope < 0.6
    trust = regression_adjusted._slope
    assert trust(predictions, truths, weights) == pytest.approx(slope)
    assert trust(-predictions, truths, weights) == 0
    assert trust(predictions / 10, truths, weights) == 1
    assert trust(0 * predictions, truths, weights) == 0


def test_order_and_repeats_of_rows_do_not_matter():
    sample = play(INTERACTIONS, PairedUniform(60, 0, True).sample(10))
    order = np.concatenate([np.random.default_rng(0).permutation(60), [7]])
    shuffled = replace(
        sample,
        coalitions=sample.coalitions[order],
        log_probabilities=sample.log_probabilities[order],
        utilities=sample.utilities[order],
    )
    np.testing.assert_allclose(
        ESTIMATOR(shuffled).credits, ESTIMATOR(sample).credits, rtol=0, atol=1e-9
    )


def test_scale_and_offset_of_utilities_carry_over():
    sample = play(INTERACTIONS, PairedUniform(60, 0, True).sample(10))
    changed = replace(
        sample,
        utilities=50 + 3 * sample.utilities,
        v_empty=50 + 3 * sample.v_empty,
        v_full=50 + 3 * sample.v_full,
    )
    one, other = ESTIMATOR(sample), ESTIMATOR(changed)
    np.testing.assert_allclose(other.credits, 3 * one.credits, rtol=0, atol=1e-8)
    np.testing.assert_allclose(other.std_errors, 3 * one.std_errors, rtol=1e-6)


@pytest.mark.parametrize("power", [-60, -30, 30])
def test_trees_learn_in_any_unit(power):
    """Powers of two, so that nothing is rounded otherwise."""
    sample, unit = play(INTERACTIONS, PairedUniform(400, 0, True).sample(10)), 2.0**power
    changed = replace(
        sample,
        utilities=unit * sample.utilities,
        v_empty=unit * sample.v_empty,
        v_full=unit * sample.v_full,
    )
    one, other = ESTIMATOR(sample), ESTIMATOR(changed)
    np.testing.assert_allclose(other.credits / unit, one.credits, rtol=1e-9)
    assert np.abs(one.credits - WITHOUT_TREES(sample).credits).max() > 1e-3


def test_an_effect_of_size_that_is_the_same_for_all_changes_no_credit():
    """It needs no trees: t, t^3 and a jump at single contributors are covariates."""
    game = Additive(tuple(np.linspace(-1, 3, 10)))
    sample = play(game, PairedUniform(80, 0, True).sample(10))
    t = (2 * sample.coalitions.sum(axis=1) - 10) / 10
    curved = replace(sample, utilities=sample.utilities + 7 * t**3 - 2 * t + 4 * (np.abs(t) > 0.75))
    np.testing.assert_allclose(ESTIMATOR(curved).credits, game.shapley_values, rtol=0, atol=1e-6)


def refitted(data, penalty, kept):
    """Ridge credits by the normal equations, from some observations only."""
    roots = np.sqrt(data.weights)[kept]
    t = data.relative_sizes[kept]
    sizes = np.column_stack([t, t**3, np.sign(t) * (np.abs(t) > 0.75)])
    features = roots[:, None] * np.hstack([data.signs[kept] - t[:, None], sizes])
    ridge = np.diag([penalty] * data.signs.shape[1] + [1e-12] * 3)
    return np.linalg.solve(features.T @ features + ridge, features.T @ (roots * data.targets[kept]))


def test_leaving_out_is_fitting_again():
    data = observe(play(INTERACTIONS, PairedUniform(80, 3, True).sample(10)), "test")
    ridge, penalty = decompose(data), 0.7
    t = data.relative_sizes
    features = np.hstack(
        [
            data.signs - t[:, None],
            np.column_stack([t, t**3, np.sign(t) * (np.abs(t) > 0.75)]),
        ]
    )
    fold = np.arange(len(t)) % 4 == 0
    expected = data.targets - features @ refitted(data, penalty, ~fold)
    found = ridge.without(penalty, data.targets, fold)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    one = np.arange(len(t)) == 5
    alone = data.targets - features @ refitted(data, penalty, ~one)
    left_out = ridge.left_out(penalty, data.targets) / np.sqrt(data.weights)
    assert left_out[5] == pytest.approx(alone[5], abs=1e-6)


def test_pure_noise_is_shrunk_towards_an_equal_split():
    generator = np.random.default_rng(0)
    sample = play(Additive((1.0,) * 10), PairedUniform(40, 0, False).sample(10))
    noisy = replace(sample, utilities=generator.normal(size=40))
    data = observe(noisy, "test")
    assert best_penalty(decompose(data), data.targets) > 1


@pytest.mark.parametrize("budget", [12, 16, 20])
def test_a_fit_that_nothing_can_be_left_out_of_is_not_the_best(budget):
    """Without a penalty so few observations are interpolated: what is left out cannot be told."""
    sample = play(Additive((1.0,) * 10), PairedUniform(budget, 0, False).sample(10))
    noisy = replace(sample, utilities=np.random.default_rng(1).normal(size=budget))
    data = observe(noisy, "test")
    ridge = decompose(data)
    assert np.isnan(ridge.left_out(0.0, data.targets)).any()
    assert best_penalty(ridge, data.targets) > 0


@pytest.mark.parametrize("budget", [12, 16, 20])
def test_credits_come_in_whatever_unit_where_no_penalty_is_better_than_another(budget):
    """Single contributors say nothing of one another: only rounding could tell penalties apart."""
    game = NoisyGame(UnanimitySum.random(10, (10, 10, 10), seed=1), 1.0, 1)
    sample = play(game, ends_first(budget, 5, 10))
    data = observe(sample, "test")
    ridge = decompose(data)
    assert best_penalty(ridge, data.targets) == max(odd_regression.PENALTIES)
    assert np.isnan(WITHOUT_TREES(sample).std_errors).all()
    found = WITHOUT_TREES(sample).credits
    for unit in (3.0, 0.7, 1 / 3):
        other = replace(
            sample,
            utilities=unit * sample.utilities,
            v_empty=unit * sample.v_empty,
            v_full=unit * sample.v_full,
        )
        np.testing.assert_allclose(WITHOUT_TREES(other).credits, unit * found, rtol=1e-9)


@pytest.mark.parametrize("name", ["fid", "diversity"])
def test_single_contributors_alone_are_better_than_an_equal_split(name):
    path = Path(__file__).parents[2] / "benchmarks" / "estimators" / "digits_game.csv"
    game = read_recorded(path, None)
    exact = shapley_values(game.of(name)(all_coalitions(10)))
    found = ESTIMATOR(play(game.of(name), ends_first(20, 0, 10)))
    assert ((found.credits - exact) ** 2).sum() < 0.7 * ((exact - exact.mean()) ** 2).sum()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [40, 80, 160])
def test_intervals_hold_what_they_promise(budget):
    game = UnanimitySum.random(12, (12, 20, 10), seed=2)
    inside = []
    for seed in range(60):
        noisy = NoisyGame(game, 0.7, seed)
        found = WITHOUT_TREES(play(noisy, PairedUniform(budget, seed, True).sample(12)))
        inside.append(
            (found.ci_low <= game.shapley_values) & (game.shapley_values <= found.ci_high)
        )
    assert 0.88 < np.mean(inside) < 0.995


@pytest.mark.parametrize("noise", [0.0, 0.3, np.nan])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_errors_are_those_of_the_model_written_out(penalty, noise):
    """All that is uncertain by name: credits, what they leave of every pair, noise, the total's."""
    n, variance = 5, 2.0
    data = observe(play(Airport(range(1, n + 1)), PairedUniform(20, 3, True).sample(n)), "test")
    everything = observe(play(Airport(range(1, n + 1)), Exhaustive().sample(n)), "test")
    ridge = decompose(data)
    used = regression_adjusted._weights(data, ridge, penalty).used
    found = regression_adjusted._covariance(
        data, ridge, penalty, regression_adjusted._weights(data, ridge, penalty), variance, noise
    )
    blurred = variance / 2 if np.isnan(noise) else noise
    own = shapley_weights(everything.signs)
    seen = np.array([(row == data.signs).all(axis=1).any() for row in everything.signs])
    where = [
        int(np.flatnonzero((row == data.signs).all(axis=1))[0]) for row in everything.signs[seen]
    ]
    of_rests = -own
    of_rests[:, seen] += used[:, where]
    rests = variance / everything.weights - blurred
    apart = np.eye(n) - 1 / n
    of_credits = used @ (data.signs - data.relative_sizes[:, None]) - apart
    expected = (of_rests * rests) @ of_rests.T + blurred * used @ used.T
    expected += variance / penalty * of_credits @ apart @ of_credits.T
    of_total = 1 / n - used @ data.relative_sizes
    expected += blurred * np.outer(of_total, of_total)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_noise_errors_are_the_spread_under_noise_with_the_same_trees():
    """Without trees and with a fixed penalty credits are linear: perturb every utility in turn."""
    game = Additive(tuple(np.linspace(0, 300, 6)))  # so large that nothing is shrunk
    sample = play(game, PairedUniform(30, 0, True).sample(6), noise_variance=0.25)
    base = WITHOUT_TREES(sample)
    gradients = []
    for row in range(len(sample)):
        moved = sample.utilities.copy()
        moved[row] += 1e-3
        gradients.append(WITHOUT_TREES(replace(sample, utilities=moved)).credits - base.credits)
    for end in ("v_empty", "v_full"):
        moved = replace(sample, **{end: getattr(sample, end) + 1e-3})
        gradients.append(WITHOUT_TREES(moved).credits - base.credits)
    expected = np.sqrt(0.25 * ((np.array(gradients) / 1e-3) ** 2).sum(axis=0))
    np.testing.assert_allclose(base.noise_errors, expected, rtol=0.02)


def test_errors_are_not_below_those_of_the_noise():
    for noise in (0.01, 100.0):
        sample = play(INTERACTIONS, PairedUniform(80, 0, True).sample(10), noise_variance=noise)
        found = ESTIMATOR(sample)
        assert (found.std_errors >= found.noise_errors * (1 - 1e-12)).all()


def test_noise_errors_are_unknown_without_replicates():
    found = ESTIMATOR(play(INTERACTIONS, PairedUniform(60, 0, True).sample(10)))
    assert np.isnan(found.noise_errors).all()


def test_a_sample_of_ends_only_is_refused():
    ends = Sample(np.array([[False] * 4, [True] * 4]), np.log([0.5, 0.5]))
    with pytest.raises(LedgerError, match="regression_adjusted needs coalitions between"):
        ESTIMATOR(play(Gloves(2, 2), ends))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("folds", 1),
        ("trees", 0),
        ("depth", 0),
        ("smallest_leaf", 0),
        ("seed", -1),
        ("learning_rate", 0.0),
        ("learning_rate", 1.5),
        ("confidence", 1.0),
    ],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"estimator.{setting}"):
        replace(ESTIMATOR, **{setting: value})


@pytest.mark.parametrize(("name", "seed"), [("fid", 130), ("diversity", 151)])
def test_a_fold_without_which_nothing_decides_can_be_left_out(name, seed):
    """Of these coalitions of a recorded game some are all that tells of a direction."""
    path = Path(__file__).parents[2] / "benchmarks" / "estimators" / "digits_game.csv"
    game = read_recorded(path, ["inception_score", "fid", "diversity"]).of(name)
    found = replace(ESTIMATOR, trees=50, depth=5)(
        play(game, PairedUniform(budget=30, seed=seed, ends=True).sample(10))
    )
    assert np.isfinite(found.credits).all()
    assert abs(found.efficiency_gap) < 1e-9 * abs(found.v_full - found.v_empty)


def test_a_large_fold_is_left_out_as_a_small_one_is(monkeypatch):
    generator = np.random.default_rng(0)
    rows = np.linalg.qr(generator.normal(size=(300, 12)))[0] * np.sqrt(generator.random(12))
    residuals = generator.normal(size=120)
    fold = rows[:120]
    expected = np.linalg.solve(np.eye(120) - fold @ fold.T, residuals)
    for limit in (0, 1000):
        monkeypatch.setattr(odd_regression, "LARGE_FOLD", limit)
        np.testing.assert_allclose(odd_regression._lifted(fold, residuals), expected, rtol=1e-8)
