import math
from dataclasses import replace

import numpy as np
import pytest
from samples import banzhaf_values, ends_first, rows_of
from scipy.linalg import hadamard

from crediting.design import (
    Bernoulli,
    Exhaustive,
    FixedSize,
    PairedKernel,
    PairedUniform,
    ShapleyKernel,
    Stratified,
)
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Banzhaf
from crediting.game.game import Sample, play
from crediting.game.toy import Additive, Airport, Gloves, NoisyGame, SymmetricMajority, UnanimitySum

ESTIMATOR = Banzhaf(confidence=0.95)
INTERACTIONS = UnanimitySum.random(8, (8, 15, 15), seed=5)
GAMES = [
    Additive((1.0, -2.5)),
    Gloves(1, 2),
    Gloves(3, 4),
    Airport((1.0, 8.0, 2.0, 2.0, 5.0, 0.0)),
    INTERACTIONS,
]


def designs(budget, seed):
    return [
        Bernoulli(budget, seed),
        PairedUniform(budget, seed, ends=True),
        PairedKernel(budget, seed),
        Stratified(budget, seed, paired=True),
        ShapleyKernel(budget, seed),
    ]


@pytest.mark.parametrize("game", GAMES, ids=repr)
@pytest.mark.parametrize("ends", [True, False])
def test_all_coalitions_give_the_exact_values(game, ends):
    sample = play(game, Exhaustive().sample(game.n_players))
    found = ESTIMATOR(sample if ends else rows_of(sample, slice(1, -1)))
    np.testing.assert_allclose(found.credits, banzhaf_values(game), rtol=0, atol=1e-9)
    assert not found.std_errors.any()
    assert found.estimator == "banzhaf"


def test_majority_has_the_chance_of_a_tie_among_the_others():
    found = ESTIMATOR(play(SymmetricMajority(7), Exhaustive().sample(7)))
    np.testing.assert_allclose(found.credits, math.comb(6, 3) / 2**6)
    assert found.efficiency_gap == pytest.approx(1 - 7 * math.comb(6, 3) / 2**6)


def test_bernoulli_samples_give_differences_of_means():
    """Of the proper coalitions, with the ends in their place among 2^7."""
    sample = play(INTERACTIONS, Bernoulli(70, 1).sample(8))
    rows = {
        row.tobytes(): (row, v) for row, v in zip(sample.coalitions, sample.utilities, strict=True)
    }
    counts = {key: (sample.coalitions == row).all(axis=1).sum() for key, (row, _) in rows.items()}
    inner = [key for key, (row, _) in rows.items() if 0 < row.sum() < 8]
    expected = []
    for player in range(8):
        means = {}
        for inside in (True, False):
            keys = [key for key in inner if rows[key][0][player] == inside]
            mean = np.average([rows[k][1] for k in keys], weights=[counts[k] for k in keys])
            end = sample.v_full if inside else sample.v_empty
            means[inside] = (127 * mean + end) / 128
        expected.append(means[True] - means[False])
    np.testing.assert_allclose(ESTIMATOR(sample).credits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("which", range(5))
def test_weights_undo_every_design(which):
    """The mean over many samples is the value; without weights, that of the design is far off."""
    game = UnanimitySum.random(6, (6, 8, 8), seed=1)
    values = banzhaf_values(game)
    samples = [play(game, designs(36, seed)[which].sample(6)) for seed in range(80)]
    credits = np.array([ESTIMATOR(sample).credits for sample in samples])
    error_of_mean = credits.std(axis=0, ddof=1) / np.sqrt(len(credits))
    bias = np.abs(credits.mean(axis=0) - values)
    assert (bias < 4 * error_of_mean + 0.03 * np.ptp(values)).all()


def test_order_and_offset_change_nothing():
    sample = play(INTERACTIONS, PairedUniform(50, 0, ends=True).sample(8))
    again = rows_of(sample, np.random.default_rng(1).permutation(50))
    again = replace(
        again, utilities=again.utilities + 50, v_empty=again.v_empty + 50, v_full=again.v_full + 50
    )
    one, other = ESTIMATOR(sample), ESTIMATOR(again)
    for field in ("credits", "std_errors", "ci_low", "ci_high"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=0, atol=1e-10)


# ------------------------------------------------------------------------------ uncertainty


@pytest.mark.parametrize("design", [Bernoulli(40, 4), Stratified(42, 4, paired=True)], ids=repr)
def test_errors_are_those_of_leaving_out_every_unit_by_hand(design):
    sample = play(INTERACTIONS, design.sample(8))
    keys = [min(row.tobytes(), (~row).tobytes()) for row in sample.coalitions]
    proper = sample.coalitions.any(axis=1) & ~sample.coalitions.all(axis=1)
    units = sorted({key for key, inner in zip(keys, proper, strict=True) if inner})
    left_out = [
        ESTIMATOR(rows_of(sample, [row for row, key in enumerate(keys) if key != unit])).credits
        for unit in units
    ]
    credits, g = ESTIMATOR(sample).credits, len(units)
    by_hand = np.sqrt((g - 1) / g * ((left_out - credits) ** 2).sum(axis=0))
    np.testing.assert_allclose(ESTIMATOR(sample).std_errors, by_hand, rtol=1e-9)


@pytest.mark.parametrize("which", [0, 3])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_intervals_hold_what_they_promise(which, scale):
    values, inside = banzhaf_values(INTERACTIONS), []
    for seed in range(60):
        sample = play(NoisyGame(INTERACTIONS, scale, seed), designs(60, seed)[which].sample(8))
        found = ESTIMATOR(sample)
        inside.append((found.ci_low <= values) & (values <= found.ci_high))
    assert 0.91 < np.mean(inside) < 0.99


def test_noise_errors_add_up_to_those_of_the_means():
    """Twenty coalitions with, twenty without: 1/20 + 1/20, ends aside."""
    n_players = 30
    coalitions = Bernoulli(20, 0).sample(n_players).coalitions
    both = np.concatenate([coalitions, ~coalitions])
    sample = play(Additive((1.0,) * n_players), Sample(both, np.zeros(40)), noise_variance=4.0)
    np.testing.assert_allclose(ESTIMATOR(sample).noise_errors, 2 * np.sqrt(0.1), rtol=1e-6)


def test_errors_are_not_below_those_of_the_noise():
    for seed in range(10):
        design = Bernoulli(40, seed).sample(4)
        found = ESTIMATOR(play(Additive((1.0, 1.0, 1.0, 1.0)), design, noise_variance=0.5))
        assert (found.std_errors >= found.noise_errors * (1 - 1e-12)).all()


def test_balanced_rows_give_weights_of_an_additive_game():
    """Columns of a Hadamard matrix: with and without anybody, all others are in equally often."""
    rows = hadamard(32)[:, 1:9] > 0
    rows[:, [0, 3]] ^= True
    assert rows.any(axis=1).all()
    assert not rows.all(axis=1).any()
    weights = np.array([4.0, 1.0, -3.0, 0.0, 2.0, 2.0, 1.0, 0.5])
    found = ESTIMATOR(play(Additive(tuple(weights)), Sample(rows, np.zeros(32))))
    expected = (1 - 2**-7) * weights + 2**-7 * weights.sum()  # one of 128 is the end
    np.testing.assert_allclose(found.credits, expected, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------ what cannot be


def test_coalitions_that_are_too_unlike_those_of_the_value_are_refused():
    sample = play(Additive((1.0,) * 100), PairedKernel(400, 0).sample(100))
    with pytest.raises(
        LedgerError, match=r"400 coalitions tell it as much as \d+\.\d .* needs 100, .*=bernoulli"
    ):
        ESTIMATOR(sample)


@pytest.mark.parametrize("n_players", [5, 7, 20, 50])
def test_sizes_that_hardly_count_are_no_sample_of_it(n_players):
    weights = np.arange(1.0, n_players + 1)
    ends = ends_first(2 * n_players, 0, n_players)
    others = n_players - 1
    said = rf"the coalitions are of 1 or {others} contributors.*design=bernoulli, which draws these"
    with pytest.raises(LedgerError, match=said):
        ESTIMATOR(play(lambda c: np.sqrt(c @ weights), ends))


def test_halves_alone_are_a_sample_of_it():
    halves = FixedSize(alpha=0.5, budget=200, seed=0).sample(20)
    found = ESTIMATOR(play(lambda c: c @ np.arange(20.0), halves))
    assert np.isfinite(found.credits).all()


def test_who_is_never_out_is_named():
    coalitions = Bernoulli(60, 0).sample(6).coalitions.copy()
    coalitions[:, 2] = True
    coalitions[:, 4] = False
    sample = play(Gloves(3, 3), Sample(coalitions, np.zeros(60)))
    told = r"contributors number 3, 5 have fewer .*design=bernoulli"
    with pytest.raises(LedgerError, match=told):
        ESTIMATOR(sample)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r"estimator\.confidence"):
        Banzhaf(confidence=0.0)
    assert ESTIMATOR.minimum_coalitions(12) == 12
