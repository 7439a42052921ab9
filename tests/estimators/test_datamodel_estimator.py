from dataclasses import replace

import numpy as np
import pytest
from samples import rows_of
from sklearn.linear_model import Ridge, RidgeCV

from crediting.design import Bernoulli, Exhaustive, FixedSize, PairedUniform
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Datamodel
from crediting.game.coalition import all_coalitions
from crediting.game.game import Sample, play
from crediting.game.toy import Additive, NoisyGame, UnanimitySum

GRID = [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
ESTIMATOR = Datamodel(GRID, confidence=0.95)
INTERACTIONS = UnanimitySum.random(12, (12, 20, 20), seed=5)


# ------------------------------------------------------------------------------ against others


@pytest.mark.parametrize("penalty", [0.01, 3.0, 200.0])
@pytest.mark.parametrize(
    "design",
    [FixedSize(0.5, 70, 0), Bernoulli(9, 1), PairedUniform(60, 2, ends=True)],
    ids=lambda design: design.name,
)
def test_coefficients_are_those_of_ridge_regression(design, penalty):
    sample = play(INTERACTIONS, design.sample(12))
    reference = Ridge(penalty).fit(sample.coalitions, sample.utilities).coef_
    found = Datamodel([penalty], 0.95)(sample).credits
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("budget", [14, 30, 100])
def test_the_penalty_is_the_one_of_ridge_with_generalised_left_out_rows(scale, budget):
    """No coalition has its complement here, so a unit is a row."""
    drawn = Bernoulli(budget, 3).sample(12)
    first = Sample(*(part[drawn.coalitions[:, 0]] for part in vars(drawn).values()))
    sample = play(NoisyGame(INTERACTIONS, scale, 0), first)
    reference = RidgeCV(GRID).fit(sample.coalitions, sample.utilities)
    np.testing.assert_allclose(ESTIMATOR(sample).credits, reference.coef_, rtol=0, atol=1e-8)


def test_repeats_weigh_as_often_as_they_occur():
    sample = play(INTERACTIONS, FixedSize(0.5, 40, 0).sample(12))
    repeated = rows_of(sample, np.repeat(np.arange(40), np.arange(40) % 3 + 1))
    reference = Ridge(2.0).fit(repeated.coalitions, repeated.utilities).coef_
    found = Datamodel([2.0], 0.95)(repeated).credits
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------ the credits


@pytest.mark.parametrize("design", [Bernoulli(60, 0), PairedUniform(60, 0, ends=True)], ids=repr)
def test_an_additive_game_is_recovered(design):
    game = Additive(tuple(np.linspace(-1, 3, 12)))
    found = Datamodel([1e-7], 0.95)(play(game, design.sample(12)))
    np.testing.assert_allclose(found.credits, game.shapley_values, rtol=0, atol=1e-6)


def test_one_size_tells_contributors_apart_and_says_no_more():
    weights = np.linspace(-1, 3, 12)
    found = Datamodel([1e-7], 0.95)(
        play(Additive(tuple(weights)), FixedSize(0.5, 60, 0).sample(12))
    )
    np.testing.assert_allclose(found.credits, weights - weights.mean(), rtol=0, atol=1e-6)
    assert "sum to zero" in found.explanation
    several = ESTIMATOR(play(Additive(tuple(weights)), Bernoulli(60, 0).sample(12)))
    assert several.explanation == ""


def test_all_coalitions_carry_no_sampling_error():
    for design in (Exhaustive(), FixedSize(0.5, 10**6, 0)):
        found = ESTIMATOR(play(UnanimitySum.random(6, (6, 9), seed=0), design.sample(6)))
        assert not found.std_errors.any()
    sample = rows_of(
        play(UnanimitySum.random(6, (6, 9), seed=0), Exhaustive().sample(6)), slice(60)
    )
    assert ESTIMATOR(sample).std_errors.all()


def test_all_coalitions_and_no_penalty_give_the_banzhaf_value():
    """Hammer & Holzman: the best linear fit to all coalitions has these slopes."""
    game = UnanimitySum.random(7, (7, 9, 9), seed=3)
    everything = all_coalitions(7)
    found = Datamodel([1e-9], 0.95)(play(game, Exhaustive().sample(7)))
    for player in range(7):
        without = everything[~everything[:, player]]
        joined = without | (np.arange(7) == player)
        expected = (game(joined) - game(without)).mean()
        assert found.credits[player] == pytest.approx(expected, abs=1e-9)


def test_order_and_offset_change_nothing():
    sample = play(NoisyGame(INTERACTIONS, 1.0, 0), PairedUniform(60, 0, ends=True).sample(12))
    again = rows_of(sample, np.random.default_rng(1).permutation(60))
    again = replace(again, utilities=again.utilities + 50)
    one, other = ESTIMATOR(sample), ESTIMATOR(again)
    for field in ("credits", "std_errors", "ci_low", "ci_high"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=0, atol=1e-9)


def test_a_pair_is_left_out_together():
    """What complements have in common says nothing of credits, so it must not raise the penalty."""
    n, signs = 12, 2.0 * PairedUniform(60, 0, ends=False).sample(12).coalitions - 1
    sample = play(
        Additive(tuple(np.linspace(-1, 3, n))), PairedUniform(60, 0, ends=False).sample(n)
    )
    even = replace(sample, utilities=sample.utilities + 30 * signs[:, 0] * signs[:, 1])
    rows = RidgeCV(GRID).fit(even.coalitions, even.utilities).alpha_
    assert rows > GRID[0]
    np.testing.assert_allclose(
        ESTIMATOR(even).credits, ESTIMATOR(sample).credits, rtol=0, atol=1e-6
    )


# ------------------------------------------------------------------------------ uncertainty


@pytest.mark.parametrize(
    "design", [Bernoulli(80, 4), PairedUniform(60, 4, ends=True)], ids=lambda d: d.name
)
def test_without_a_penalty_errors_are_those_of_leaving_out_units_by_hand(design):
    estimator = Datamodel([1e-9], 0.95)
    sample = play(INTERACTIONS, design.sample(12))
    keys = [min(row.tobytes(), (~row).tobytes()) for row in sample.coalitions]
    units = sorted(set(keys))
    left_out = [
        estimator(rows_of(sample, [row for row, key in enumerate(keys) if key != unit])).credits
        for unit in units
    ]
    credits, g = estimator(sample).credits, len(units)
    by_hand = np.sqrt((g - 1) / g * ((left_out - credits) ** 2).sum(axis=0))
    np.testing.assert_allclose(estimator(sample).std_errors, by_hand, rtol=1e-5)


@pytest.mark.parametrize("design", [Bernoulli, lambda m, s: FixedSize(0.5, m, s)])
@pytest.mark.parametrize(("budget", "scale"), [(60, 1.0), (120, 2.0)])
def test_intervals_hold_what_they_promise(design, budget, scale):
    weights = np.random.default_rng(0).normal(size=12)
    game, inside = Additive(tuple(weights)), []
    for seed in range(50):
        drawn = design(budget, seed).sample(12)
        values = weights - weights.mean() * (np.ptp(drawn.coalitions.sum(axis=1)) == 0)
        found = ESTIMATOR(play(NoisyGame(game, scale, seed), drawn))
        inside.append((found.ci_low <= values) & (values <= found.ci_high))
    assert 0.91 < np.mean(inside) < 0.99


def test_where_noise_drowns_the_credits_intervals_are_not_much_too_narrow():
    weights, inside = np.random.default_rng(0).normal(size=12), []
    for seed in range(50):
        game = NoisyGame(Additive(tuple(weights)), 4.0, seed)
        found = ESTIMATOR(play(game, Bernoulli(120, seed).sample(12)))
        inside.append((found.ci_low <= weights) & (weights <= found.ci_high))
    assert np.mean(inside) > 0.83


def test_what_the_penalty_holds_back_is_counted():
    """Fewer coalitions than contributors: errors may not be below the spread of the credits."""
    weights = np.random.default_rng(0).normal(size=60)
    inside = []
    for seed in range(10):
        found = ESTIMATOR(
            play(NoisyGame(Additive(tuple(weights)), 0.5, seed), Bernoulli(40, seed).sample(60))
        )
        inside.append((found.ci_low <= weights) & (weights <= found.ci_high))
    assert np.mean(inside) > 0.88


def test_noise_errors_are_the_spread_over_noises():
    sample = play(INTERACTIONS, FixedSize(0.5, 50, 0).sample(12), noise_variance=0.25)
    estimator, generator = Datamodel([3.0], 0.95), np.random.default_rng(0)
    credits = [
        estimator(
            replace(sample, utilities=sample.utilities + 0.5 * generator.normal(size=50))
        ).credits
        for _ in range(400)
    ]
    found = estimator(sample).noise_errors
    np.testing.assert_allclose(found, np.std(credits, axis=0), rtol=0.15)
    unmeasured = replace(sample, noise_variance=float("nan"))
    assert np.isnan(estimator(unmeasured).noise_errors).all()


# ------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": 1.0}, r"estimator\.confidence"),
        ({"penalties": []}, r"estimator\.penalties: expected one or more positive .* got \[\]"),
        ({"penalties": [1.0, 0.0]}, r"got \[1\.0, 0\.0\]"),
        ({"penalties": [float("nan")]}, r"got \[nan\]"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Datamodel(**{"penalties": GRID, "confidence": 0.95, **changes})


def test_one_pair_alone_is_refused():
    sample = play(Additive((1.0, 2.0)), FixedSize(0.5, 9, 0).sample(2))
    with pytest.raises(LedgerError, match=r"too few to choose a penalty"):
        ESTIMATOR(sample)
    assert ESTIMATOR.minimum_coalitions(2) == 3


@pytest.mark.slow
def test_a_thousand_contributors_are_no_burden():
    weights = np.random.default_rng(0).normal(size=1000)
    sample = play(Additive(tuple(weights)), Bernoulli(3000, 0).sample(1000))
    found = Datamodel([1e-6, 1.0], 0.95)(sample)
    np.testing.assert_allclose(found.credits, weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("unit", [1.0, 3.0, 0.7, 1 / 3])
def test_penalties_that_predict_alike_hold_back_least(unit):
    """One contributor alone says nothing of another, whatever the penalty."""
    weights = np.random.default_rng(0).normal(size=10)
    sample = play(Additive(tuple(unit * weights)), FixedSize(0.1, 10, 0).sample(10))
    found = Datamodel(GRID, 0.95)(sample).credits
    expected = Ridge(min(GRID)).fit(sample.coalitions, sample.utilities).coef_
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_utilities_that_never_change_earn_nothing():
    found = ESTIMATOR(play(Additive((0.0,) * 6), Bernoulli(40, 0).sample(6)))
    assert not found.credits.any()
    assert not found.std_errors.any()
