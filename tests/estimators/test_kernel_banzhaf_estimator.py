from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import banzhaf_values, error, rows_of

from crediting.design import Bernoulli, Exhaustive, PairedKernel, PairedUniform, Stratified
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Banzhaf, KernelBanzhaf
from crediting.game.coalition import all_coalitions
from crediting.game.game import EvaluatedSample, Sample, play
from crediting.game.recorded import read_recorded
from crediting.game.toy import Additive, Airport, Gloves, NoisyGame, SymmetricMajority, UnanimitySum

DIGITS_GAME = Path(__file__).parents[2] / "benchmarks" / "estimators" / "digits_game.csv"
ESTIMATOR = KernelBanzhaf(confidence=0.95)
INTERACTIONS = UnanimitySum.random(9, (9, 20, 20, 10), seed=5)
GAMES = [
    Additive((1.0, -2.5)),
    Gloves(1, 2),
    Gloves(3, 4),
    Airport((1.0, 8.0, 2.0, 2.0, 5.0, 0.0)),
    SymmetricMajority(7),
    INTERACTIONS,
]


def designs(budget, seed):
    return [
        Bernoulli(budget, seed),
        PairedUniform(budget, seed, ends=True),
        PairedKernel(budget, seed),
        Stratified(budget, seed, paired=False),
    ]


# ------------------------------------------------------------------------------ exact


@pytest.mark.parametrize("game", GAMES, ids=repr)
@pytest.mark.parametrize("ends", [True, False])
def test_all_coalitions_give_the_exact_values(game, ends):
    sample = play(game, Exhaustive().sample(game.n_players))
    found = ESTIMATOR(sample if ends else rows_of(sample, slice(1, -1)))
    np.testing.assert_allclose(found.credits, banzhaf_values(game), rtol=0, atol=1e-9)
    assert not found.std_errors.any()
    assert found.estimator == "kernel_banzhaf"


def test_all_coalitions_are_exact_however_often_each_was_drawn():
    sample = play(Gloves(2, 2), Bernoulli(400, 0).sample(4))
    found = ESTIMATOR(sample)
    np.testing.assert_allclose(found.credits, banzhaf_values(Gloves(2, 2)), rtol=0, atol=1e-9)
    assert not found.std_errors.any()


@pytest.mark.parametrize("design", designs(60, 1), ids=lambda design: design.name)
def test_an_additive_game_is_recovered_from_few_coalitions(design):
    game = Additive(tuple(np.linspace(-1, 3, 12)))
    found = ESTIMATOR(play(game, design.sample(12)))
    np.testing.assert_allclose(found.credits, game.shapley_values, rtol=0, atol=1e-9)
    assert found.std_errors.max() < 1e-9


def test_a_function_of_size_adds_its_banzhaf_value_exactly():
    """Up to the cubes that the fit knows of; ends are known whatever they are."""
    coalitions = Bernoulli(80, 2).sample(8)
    curve = np.array([3.0, *(0.5 * np.arange(1, 8) ** 3 - np.arange(1, 8) ** 2), -40.0])

    class Curve:
        n_players = 8

        def __call__(self, coalitions):
            return curve[coalitions.sum(axis=1)]

    found = ESTIMATOR(play(Curve(), coalitions))
    np.testing.assert_allclose(found.credits, banzhaf_values(Curve()), rtol=1e-9)


# ------------------------------------------------------------------------------ sampled


def test_bernoulli_samples_give_ordinary_least_squares():
    """With nothing but memberships, sizes and an intercept, ends apart."""
    sample = play(INTERACTIONS, Bernoulli(60, 3).sample(9))
    proper = sample.coalitions.any(axis=1) & ~sample.coalitions.all(axis=1)
    signs = sample.coalitions[proper] - 0.5
    relative = 2 * signs.sum(axis=1) / 9
    features = np.column_stack([signs, relative**2, relative**3, np.ones(len(signs))])
    fitted = np.linalg.lstsq(features, sample.utilities[proper], rcond=None)[0]

    def fit(coalitions):
        size = 2 * coalitions.mean(axis=1) - 1
        inner = np.column_stack([coalitions - 0.5, size**2, size**3, np.ones(len(size))]) @ fitted
        inner[size == -1], inner[size == 1] = sample.v_empty, sample.v_full
        return inner

    fit.n_players = 9
    np.testing.assert_allclose(ESTIMATOR(sample).credits, banzhaf_values(fit), rtol=0, atol=1e-9)


@pytest.mark.parametrize("which", range(4))
def test_every_design_gets_closer_with_its_budget(which):
    values = banzhaf_values(INTERACTIONS)

    def median_error(budget):
        return np.median(
            [
                error(
                    ESTIMATOR(play(INTERACTIONS, designs(budget, seed)[which].sample(9))).credits,
                    values,
                )
                for seed in range(8)
            ]
        )

    assert median_error(400) < median_error(60) / 4
    assert median_error(400) < 0.05


def test_on_a_real_game_it_beats_the_difference_of_means():
    recorded = read_recorded(DIGITS_GAME, None)
    for name in recorded.properties:
        game = recorded.of(name)
        exact = ESTIMATOR(play(game, Exhaustive().sample(10))).credits
        samples = [play(game, Bernoulli(100, seed).sample(10)) for seed in range(15)]
        fits = np.median([error(ESTIMATOR(sample).credits, exact) for sample in samples])
        means = np.median([error(Banzhaf(0.95)(sample).credits, exact) for sample in samples])
        assert 2 * fits < means


def test_order_repeats_offset_and_unit():
    sample = play(INTERACTIONS, Bernoulli(50, 0).sample(9))
    order = np.random.default_rng(1).permutation(50).repeat(2)
    again = rows_of(sample, order)
    again = replace(
        again,
        utilities=1000 * again.utilities - 7,
        v_empty=1000 * again.v_empty - 7,
        v_full=1000 * again.v_full - 7,
    )
    one, other = ESTIMATOR(sample), ESTIMATOR(again)
    np.testing.assert_allclose(1000 * one.credits, other.credits, rtol=1e-8)
    np.testing.assert_allclose(1000 * one.std_errors, other.std_errors, rtol=1e-8)


# ------------------------------------------------------------------------------ uncertainty


@pytest.mark.parametrize("design", [Bernoulli(50, 4), PairedKernel(50, 4)], ids=repr)
def test_errors_are_those_of_leaving_out_every_unit_by_hand(design):
    sample = play(INTERACTIONS, design.sample(9))
    keys = [min(row.tobytes(), (~row).tobytes()) for row in sample.coalitions]
    proper = sample.coalitions.any(axis=1) & ~sample.coalitions.all(axis=1)
    units = sorted({key for key, inner in zip(keys, proper, strict=True) if inner})
    left_out = [
        ESTIMATOR(rows_of(sample, [row for row, key in enumerate(keys) if key != unit])).credits
        for unit in units
    ]
    credits = ESTIMATOR(sample).credits
    g = len(units)
    by_hand = np.sqrt((g - 1) / g * ((left_out - credits) ** 2).sum(axis=0))
    np.testing.assert_allclose(ESTIMATOR(sample).std_errors, by_hand, rtol=1e-7)


@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize(("scale", "budget"), [(0.0, 60), (0.7, 60), (0.7, 150)])
def test_intervals_hold_what_they_promise(which, scale, budget):
    values, inside = banzhaf_values(INTERACTIONS), []
    for seed in range(40):
        played = play(NoisyGame(INTERACTIONS, scale, seed), designs(budget, seed)[which].sample(9))
        ends = {"v_empty": 0.0, "v_full": INTERACTIONS(np.ones((1, 9), bool))[0]}
        found = ESTIMATOR(replace(played, **ends))
        inside.append((found.ci_low <= values) & (values <= found.ci_high))
    assert 0.92 < np.mean(inside) < 0.995


def test_noise_errors_are_the_spread_over_noises():
    sample = play(INTERACTIONS, Bernoulli(60, 0).sample(9), noise_variance=0.25)
    found = ESTIMATOR(sample)
    generator, credits = np.random.default_rng(0), []
    keys = {row.tobytes(): place for place, row in enumerate(all_coalitions(9))}
    which = [keys[row.tobytes()] for row in sample.coalitions]
    for _ in range(400):
        noise = 0.5 * generator.normal(size=512)
        noisy = replace(
            sample,
            utilities=sample.utilities + noise[which],
            v_empty=sample.v_empty + noise[0],
            v_full=sample.v_full + noise[-1],
        )
        credits.append(ESTIMATOR(noisy).credits)
    np.testing.assert_allclose(found.noise_errors, np.std(credits, axis=0), rtol=0.15)
    assert (found.std_errors >= found.noise_errors).all()


def test_measured_noise_is_the_error_of_exact_values_and_the_least_of_others():
    exact = ESTIMATOR(play(Gloves(2, 3), Exhaustive().sample(5), noise_variance=0.09))
    np.testing.assert_allclose(exact.std_errors, 0.3 * np.sqrt(32 / 16**2), rtol=1e-9)
    additive = Additive(tuple(range(9)))
    found = ESTIMATOR(play(additive, Bernoulli(60, 0).sample(9), noise_variance=0.09))
    np.testing.assert_allclose(found.std_errors, found.noise_errors)
    unmeasured = ESTIMATOR(play(additive, Bernoulli(60, 0).sample(9)))
    assert np.isnan(unmeasured.noise_errors).all()


def test_errors_are_unknown_where_every_pair_is_needed():
    sample = play(INTERACTIONS, Stratified(20, 3, paired=True).sample(9))
    found = ESTIMATOR(sample)
    assert np.isnan(found.std_errors).all()
    assert np.isfinite(found.credits).all()


# ------------------------------------------------------------------------------ what cannot be


def test_coalitions_that_are_too_unlike_those_of_the_value_are_refused():
    game = Additive(tuple(range(40)))
    sample = play(game, PairedKernel(120, 0).sample(40))
    told = r"120 coalitions tell it as much as \d.* 40, .*design=bernoulli"
    with pytest.raises(LedgerError, match=told):
        ESTIMATOR(sample)


def test_coalitions_that_do_not_determine_the_credits_are_refused():
    """Players 0 and 1 always occur together."""
    coalitions = Bernoulli(60, 0).sample(6).coalitions.copy()
    coalitions[:, 1] = coalitions[:, 0]
    sample = play(Gloves(3, 3), Sample(coalitions, np.zeros(60)))
    with pytest.raises(LedgerError, match=r"60 coalitions do not determine .* 6 contributors"):
        ESTIMATOR(sample)


def test_ends_alone_are_refused():
    ends = np.array([[False] * 4, [True] * 4])
    with pytest.raises(LedgerError, match=r"tell it as much as 0\.0 of equal weight would"):
        ESTIMATOR(EvaluatedSample(ends, np.zeros(2), np.zeros(2), 0.0, 1.0, float("nan")))


@pytest.mark.parametrize(("n_players", "least"), [(2, 2), (3, 6), (4, 10), (100, 202)])
def test_minimum_is_what_pairs_need(n_players, least):
    assert ESTIMATOR.minimum_coalitions(n_players) == least


def test_confidence_is_checked():
    with pytest.raises(ConfigError, match=r"estimator\.confidence"):
        KernelBanzhaf(confidence=1.0)


@pytest.mark.slow
def test_a_thousand_contributors_are_no_burden():
    weights = np.random.default_rng(0).normal(size=1000)
    sample = play(Additive(tuple(weights)), Bernoulli(3000, 0).sample(1000))
    np.testing.assert_allclose(ESTIMATOR(sample).credits, weights, rtol=0, atol=1e-7)
