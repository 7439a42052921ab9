import re
from dataclasses import replace
from math import comb, log

import numpy as np
import pytest

from crediting.design import (
    Bernoulli,
    Exhaustive,
    LeaveOneOut,
    PairedKernel,
    PairedUniform,
    Permutation,
    ShapleyKernel,
    Stratified,
)
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Exact, KernelShap
from crediting.estimators.kernel_shap import (
    importance_weights,
    least_squares,
    noise_of_credits,
    regression,
    unit_influences,
)
from crediting.game.coalition import all_coalitions
from crediting.game.game import Sample, play
from crediting.game.toy import Additive, Airport, Gloves, NoisyGame, SymmetricMajority, UnanimitySum

ESTIMATOR = KernelShap(confidence=0.95, bootstrap=50, seed=0)
INTERACTIONS = UnanimitySum.random(10, (10, 20, 20, 10), seed=5)


def uniform_pairs(budget, seed):
    return PairedUniform(budget, seed, ends=False)


def ends_and_pairs(budget, seed):
    return PairedUniform(budget, seed, ends=True)


def stratified(budget, seed):
    return Stratified(budget, seed, paired=False)


def stratified_pairs(budget, seed):
    return Stratified(budget, seed, paired=True)


def orders(budget, seed):
    return Permutation(budget, seed, antithetic=False)


def antithetic_orders(budget, seed):
    return Permutation(budget, seed, antithetic=True)


PAIRED = [uniform_pairs, ends_and_pairs, PairedKernel, stratified_pairs]
DISTINCT = [*PAIRED, stratified]
DRAWN = [*DISTINCT, orders, antithetic_orders, Bernoulli, ShapleyKernel]


def permuted(sample, order):
    return replace(
        sample,
        coalitions=sample.coalitions[order],
        log_probabilities=sample.log_probabilities[order],
        utilities=sample.utilities[order],
    )


def paper_formula(sample):
    """The authors' closed form, written with the pseudo-inverse as in their code."""
    x = sample.coalitions.astype(float)
    a = x.T @ x / len(x)
    b = x.T @ (sample.utilities - sample.v_empty) / len(x)
    inverse = np.linalg.pinv(a, rcond=1e-12)
    ones = np.ones(len(b))
    total = sample.v_full - sample.v_empty
    return inverse @ (b - ones * (ones @ inverse @ b - total) / (ones @ inverse @ ones))


@pytest.mark.parametrize(
    "game",
    [
        Additive((1.0, -2.5)),
        Gloves(3, 5),
        Airport((1.0, 8.0, 2.0, 2.0, 5.0, 0.0)),
        SymmetricMajority(7),
        INTERACTIONS,
        UnanimitySum.random(14, (14, 30, 30), seed=6),
    ],
    ids=lambda game: type(game).__name__,
)
def test_all_coalitions_give_the_exact_values(game):
    sample = play(game, Exhaustive().sample(game.n_players))
    attribution = ESTIMATOR(sample)
    np.testing.assert_allclose(attribution.credits, Exact(0.95)(sample).credits, rtol=0, atol=1e-9)
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(attribution.ci_low, attribution.ci_high)
    assert np.all(attribution.std_errors == 0)


@pytest.mark.parametrize("design", DISTINCT)
@pytest.mark.parametrize("n_players", [2, 3, 8])
def test_a_design_that_has_drawn_everything_gives_the_exact_values(design, n_players):
    game = UnanimitySum.random(n_players, (n_players, 6, 6)[:n_players], seed=3)
    sample = play(game, design(2**n_players - 2, 1).sample(n_players))
    attribution = ESTIMATOR(sample)
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-9)
    assert np.all(attribution.std_errors == 0)
    one_lacks = ESTIMATOR(permuted(sample, np.arange(len(sample) - 1)))
    assert not np.all(one_lacks.std_errors == 0)


@pytest.mark.parametrize("design", DRAWN)
def test_an_additive_game_is_recovered_from_every_design(design):
    game = Additive(tuple(np.linspace(-1, 3, 12)))
    attribution = ESTIMATOR(play(game, design(66, 0).sample(12)))
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-9)
    assert attribution.std_errors.max() < 1e-9


@pytest.mark.parametrize("design", DRAWN)
def test_every_design_leads_to_the_shapley_values(design):
    """Averaged over seeds the credits of a large sample are right, hence so are its weights."""
    game = UnanimitySum.random(6, (6, 8, 8, 4), seed=9)
    credits = [ESTIMATOR(play(game, design(50, seed).sample(6))).credits for seed in range(200)]
    error = np.std(credits, axis=0) / np.sqrt(len(credits))
    # What the weights of a ratio estimator leave behind is of the order of its variance.
    bias = np.abs(np.mean(credits, axis=0) - game.shapley_values)
    np.testing.assert_array_less(bias, 4 * error + 0.03 * np.ptp(game.shapley_values))


@pytest.mark.parametrize("budget", [10, 60, 400])
def test_sampled_coalitions_give_the_closed_form_of_the_paper(budget):
    sample = play(INTERACTIONS, ShapleyKernel(budget, 3).sample(10))
    np.testing.assert_allclose(ESTIMATOR(sample).credits, paper_formula(sample), rtol=0, atol=1e-9)


def test_an_additive_game_is_recovered_from_few_coalitions():
    game = Additive(tuple(np.linspace(-1, 3, 12)))
    attribution = ESTIMATOR(play(game, ShapleyKernel(60, 0).sample(12)))
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-9)
    assert attribution.std_errors.max() < 1e-9


@pytest.mark.parametrize("design", DRAWN)
def test_of_utilities_that_are_all_alike_no_error_is_known(design):
    sample = play(INTERACTIONS, design(66, 0).sample(10))
    alike = replace(sample, utilities=np.full(len(sample), 1.5), v_empty=1.5, v_full=1.5)
    attribution = ESTIMATOR(alike)
    np.testing.assert_array_equal(attribution.credits, np.zeros(10))
    assert np.all(np.isnan(attribution.std_errors))
    measured = ESTIMATOR(replace(alike, noise_variance=0.01))
    assert np.all(measured.std_errors > 0)


@pytest.mark.parametrize("budget", [1, 2, 5, 9, 10, 30, 200])
def test_credits_are_efficient_for_any_budget(budget):
    sample = play(INTERACTIONS, ShapleyKernel(budget, 1).sample(10))
    assert abs(ESTIMATOR(sample).efficiency_gap) < 1e-9


def test_error_shrinks_with_the_budget():
    game = UnanimitySum.random(8, (8, 12, 12), seed=0)
    errors = [
        np.linalg.norm(
            ESTIMATOR(play(game, ShapleyKernel(budget, 0).sample(8))).credits - game.shapley_values
        )
        for budget in (40, 4000)
    ]
    assert errors[1] < errors[0] / 4


@pytest.mark.parametrize("n_players", [2, 3, 20, 258, 1100])
def test_the_paper_design_gets_identical_weights(n_players):
    sample = ShapleyKernel(100, 2).sample(n_players)
    weights = importance_weights(sample.coalitions, sample.log_probabilities)
    assert np.unique(weights).tolist() == [weights[0]]
    assert weights.sum() == pytest.approx(1)


def test_weights_undo_any_other_distribution():
    game = UnanimitySum.random(5, (5, 8, 8), seed=4)
    everything = Exhaustive().sample(5)
    sizes = everything.coalitions.sum(axis=1)
    copies = np.repeat(np.arange(32), 1 + sizes)
    tilted = Sample(everything.coalitions[copies], np.log((1 + sizes)[copies] / len(copies)))
    np.testing.assert_allclose(
        ESTIMATOR(play(game, tilted)).credits, game.shapley_values, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("design", [Exhaustive(), ShapleyKernel(50, 0)], ids=repr)
def test_an_offset_of_all_utilities_changes_nothing(design):
    sample = play(INTERACTIONS, design.sample(10))
    offset = replace(
        sample,
        utilities=sample.utilities + 100,
        v_empty=sample.v_empty + 100,
        v_full=sample.v_full + 100,
    )
    np.testing.assert_allclose(
        ESTIMATOR(offset).credits, ESTIMATOR(sample).credits, rtol=0, atol=1e-9
    )


def test_empty_and_grand_rows_change_nothing():
    sample = play(INTERACTIONS, ShapleyKernel(50, 0).sample(10))
    ends = np.array([[False] * 10, [True] * 10])
    extended = replace(
        sample,
        coalitions=np.concatenate([ends, sample.coalitions]),
        log_probabilities=np.concatenate([[-1.0, -2.0], sample.log_probabilities]),
        utilities=np.concatenate([[1e6, -1e6], sample.utilities]),
    )
    np.testing.assert_array_equal(ESTIMATOR(extended).credits, ESTIMATOR(sample).credits)


def test_order_of_rows_does_not_matter_even_to_the_interval():
    sample = play(INTERACTIONS, ShapleyKernel(80, 0).sample(10))
    order = np.random.default_rng(1).permutation(80)
    first, second = ESTIMATOR(sample), ESTIMATOR(permuted(sample, order))
    for field in ("credits", "std_errors", "ci_low", "ci_high"):
        np.testing.assert_allclose(
            getattr(first, field), getattr(second, field), rtol=0, atol=1e-12
        )


def test_relabelled_players_keep_their_credits():
    sample = play(INTERACTIONS, ShapleyKernel(80, 0).sample(10))
    relabelling = np.random.default_rng(2).permutation(10)
    relabelled = replace(sample, coalitions=sample.coalitions[:, relabelling])
    np.testing.assert_allclose(
        ESTIMATOR(relabelled).credits, ESTIMATOR(sample).credits[relabelling], rtol=0, atol=1e-9
    )


def test_same_seed_same_bits_other_seed_other_interval():
    sample = play(INTERACTIONS, ShapleyKernel(80, 0).sample(10))
    first, again = ESTIMATOR(sample), ESTIMATOR(sample)
    other = replace(ESTIMATOR, seed=1)(sample)
    np.testing.assert_array_equal(first.credits, other.credits)
    for field in ("std_errors", "ci_low", "ci_high"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
        assert np.all(getattr(first, field) != getattr(other, field))


def test_resampling_in_chunks_changes_nothing(monkeypatch):
    sample = play(INTERACTIONS, ShapleyKernel(80, 0).sample(10))
    at_once = ESTIMATOR(sample)
    monkeypatch.setattr("crediting.estimators.regression.units.CHUNK_BYTES", 7 * 8 * 80)
    in_chunks = ESTIMATOR(sample)
    np.testing.assert_allclose(in_chunks.std_errors, at_once.std_errors, rtol=0, atol=1e-12)


def test_higher_confidence_widens_the_interval():
    sample = play(INTERACTIONS, ShapleyKernel(80, 0).sample(10))
    narrow, wide = (replace(ESTIMATOR, confidence=level)(sample) for level in (0.5, 0.9))
    assert np.all(narrow.ci_low > wide.ci_low)
    assert np.all(narrow.ci_high < wide.ci_high)
    assert wide.confidence == 0.9


def independent_draws_in_pairs(budget, seed):
    """Pairs of complements drawn independently: the bootstrap needs no more than that."""
    halves = ShapleyKernel(budget // 2, seed).sample(6)
    coalitions = np.stack([halves.coalitions, ~halves.coalitions], axis=1).reshape(-1, 6)
    return Sample(coalitions, np.repeat(halves.log_probabilities, 2))


def uniform_draws(budget, seed):
    """Independent draws from all proper coalitions of 6 players alike."""
    numbers = np.random.default_rng(seed).integers(1, 2**6 - 1, size=budget)
    return Sample(all_coalitions(6)[numbers], np.full(budget, -np.log(2**6 - 2)))


def kernel_draws(budget, seed):
    return ShapleyKernel(budget, seed).sample(6)


@pytest.mark.parametrize("draw", [kernel_draws, uniform_draws, independent_draws_in_pairs])
def test_intervals_cover_the_true_values_about_as_often_as_they_promise(draw):
    game = UnanimitySum.random(6, (6, 8, 8), seed=9)
    estimator = KernelShap(confidence=0.9, bootstrap=200, seed=0)
    covered, squared_errors, variances = [], [], []
    for seed in range(150):
        attribution = estimator(play(game, draw(60, seed)))
        truth = game.shapley_values
        covered.append((attribution.ci_low <= truth) & (truth <= attribution.ci_high))
        squared_errors.append((attribution.credits - truth) ** 2)
        variances.append(attribution.std_errors**2)
    assert 0.84 < np.mean(covered) < 0.95
    assert 0.8 < np.sqrt(np.mean(variances) / np.mean(squared_errors)) < 1.25


@pytest.mark.parametrize("design", [*DISTINCT, orders, ShapleyKernel])
@pytest.mark.parametrize("budget", [40, 72])
def test_intervals_of_a_noisy_game_are_wide_enough(design, budget):
    game = UnanimitySum.random(9, (9, 12, 12), seed=9)
    covered = []
    for seed in range(60):
        attribution = ESTIMATOR(play(NoisyGame(game, 0.3, seed), design(budget, seed).sample(9)))
        truth = game.shapley_values
        covered.append((attribution.ci_low <= truth) & (truth <= attribution.ci_high))
    assert 0.83 < np.mean(covered) <= 1


def test_the_noise_of_coalitions_that_repeat_is_in_the_intervals():
    """A hundred draws of 30 coalitions: resampling them shows little of their noise."""
    game = Additive((1.0, 2.0, 3.0, 4.0, 5.0))
    inside = []
    for seed in range(100):
        sample = play(NoisyGame(game, 1.0, seed), ShapleyKernel(100, seed).sample(5))
        found = KernelShap(0.95, 200, 0)(replace(sample, noise_variance=1.0))
        inside.append(
            (found.ci_low <= game.shapley_values) & (game.shapley_values <= found.ci_high)
        )
        assert (found.std_errors >= found.noise_errors * (1 - 1e-9)).all()
        assert found.draws.std(axis=0, ddof=1) == pytest.approx(found.std_errors)
    assert 0.9 < np.mean(inside) < 0.99


def test_utilities_that_are_all_alike_are_as_unsure_as_their_noise():
    """No resample differs from another, and yet the noise that replicates measured is there."""
    drawn = PairedUniform(24, 0, ends=True).sample(6)
    found = KernelShap(0.95, 2000, 0)(play(Additive((0.0,) * 6), drawn, noise_variance=0.25))
    assert (found.noise_errors > 0).all()
    np.testing.assert_allclose(found.std_errors, found.noise_errors)
    np.testing.assert_allclose(found.ci_high, 1.96 * found.noise_errors, rtol=0.15)
    np.testing.assert_allclose(found.ci_low, -1.96 * found.noise_errors, rtol=0.15)
    np.testing.assert_allclose(found.draws.std(axis=0), found.noise_errors, rtol=0.1)


@pytest.mark.parametrize("design", [*PAIRED, stratified, orders, ShapleyKernel, Bernoulli])
def test_an_influence_is_what_the_credits_lose_without_a_unit(design):
    data = regression(play(INTERACTIONS, design(90, 2).sample(10)))
    fit = least_squares(data)
    influences = unit_influences(data, fit)
    assert len(influences) == data.units.max() + 1
    for unit in range(0, len(influences), 7):
        kept = data.units != unit
        without = data._replace(
            coalitions=data.coalitions[kept], gains=data.gains[kept], weights=data.weights[kept]
        )
        expected = fit.credits - least_squares(without).credits
        np.testing.assert_allclose(influences[unit], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("design", PAIRED)
def test_interactions_of_two_cancel_in_pairs_and_so_in_their_bootstrap(design):
    game = UnanimitySum.random(10, (10, 30), seed=1)
    attribution = ESTIMATOR(play(game, design(50, 0).sample(10)))
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-9)
    assert attribution.std_errors.max() < 1e-9
    alone = ESTIMATOR(play(game, ShapleyKernel(50, 0).sample(10)))
    assert alone.std_errors.min() > 0.01


@pytest.mark.parametrize("design", PAIRED)
def test_order_of_pairs_does_not_matter_even_to_the_interval(design):
    sample = play(INTERACTIONS, design(80, 0).sample(10))
    order = np.random.default_rng(1).permutation(80)
    first, second = ESTIMATOR(sample), ESTIMATOR(permuted(sample, order))
    for field in ("credits", "std_errors", "ci_low", "ci_high"):
        np.testing.assert_allclose(
            getattr(first, field), getattr(second, field), rtol=0, atol=1e-12
        )


def test_resamples_are_weighted_as_the_sample_is():
    game = UnanimitySum.random(6, (6, 8, 8), seed=9)
    attribution = ESTIMATOR(play(game, uniform_draws(2000, seed=0)))
    middle = (attribution.ci_low + attribution.ci_high) / 2
    np.testing.assert_array_less(np.abs(middle - attribution.credits), attribution.std_errors)


@pytest.mark.parametrize("budget", [1, 6, 10, 12])
def test_uncertainty_is_unknown_where_resamples_rarely_determine_the_credits(budget):
    attribution = ESTIMATOR(play(INTERACTIONS, ShapleyKernel(budget, 0).sample(10)))
    for field in ("std_errors", "ci_low", "ci_high"):
        assert np.isnan(getattr(attribution, field)).all()
    assert np.isfinite(attribution.credits).all()


def test_one_draw_that_alone_tells_a_contributor_apart_leaves_uncertainty_unknown():
    coalitions = ShapleyKernel(60, 0).sample(5).coalitions
    coalitions[:, 4] = coalitions[:, 3]
    coalitions[7] = [True, False, True, True, False]
    attribution = ESTIMATOR(play(Gloves(2, 3), Sample(coalitions, np.zeros(60))))
    assert np.isnan(attribution.std_errors).all()
    assert "more coalitions" in attribution.explanation


def test_undetermined_credits_follow_the_stated_convention():
    # Players 0 and 1 only ever occur together, player 3 never does.
    coalitions = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0]], dtype=bool)
    game = Additive((3.0, 1.0, 2.0, 0.0))
    credits = ESTIMATOR(play(game, Sample(coalitions, np.zeros(3)))).credits
    np.testing.assert_allclose(credits, [2, 2, 2, 0], rtol=0, atol=1e-9)


def test_what_the_sum_determines_is_no_guess():
    """Of an additive game three of four contributors are seen: the fourth has what is left."""
    coalitions = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], dtype=bool)
    game = Additive((3.0, 2.0, 2.0, 0.5))
    found = ESTIMATOR(play(game, Sample(coalitions, np.zeros(3))))
    np.testing.assert_allclose(found.credits, game.weights, rtol=0, atol=1e-9)
    two = ESTIMATOR(play(game, Sample(coalitions[:2], np.zeros(2))))
    np.testing.assert_allclose(two.credits, [3, 2, 1.25, 1.25], rtol=0, atol=1e-9)
    assert "do not determine" in two.explanation


@pytest.mark.parametrize("seed", range(20))
def test_as_few_coalitions_as_contributors_lose_nothing_of_an_additive_game(seed):
    """The credits fit every coalition, whether or not each contributor is in one."""
    game = Additive((1.0, 2.0, 3.0, 4.0))
    sample = play(game, ShapleyKernel(4, seed).sample(4))
    credits = ESTIMATOR(sample).credits
    np.testing.assert_allclose(sample.coalitions @ credits, sample.utilities, rtol=0, atol=1e-9)
    assert credits.sum() == pytest.approx(10)


def test_repeats_do_not_pass_for_an_enumeration():
    rows = np.arange(16)
    rows[5] = 6
    everything = Exhaustive().sample(4)
    sample = Sample(everything.coalitions[rows], everything.log_probabilities[rows])
    game = UnanimitySum.random(4, (4, 4, 2), seed=0)
    assert np.all(ESTIMATOR(play(game, sample)).std_errors > 0)


def test_a_sample_that_happens_to_hold_every_coalition_is_no_enumeration():
    everything = Exhaustive().sample(4)
    proper = everything.coalitions[1:-1]
    unequal = np.where(proper.sum(axis=1) == 2, -3.0, -2.0)
    game = UnanimitySum.random(4, (4, 4, 2), seed=0)
    assert np.all(ESTIMATOR(play(game, Sample(proper, unequal))).std_errors > 0)


def test_no_coalition_between_the_ends_is_refused():
    ends = Sample(np.array([[False] * 3, [True] * 3]), np.zeros(2))
    with pytest.raises(LedgerError, match=r"got none among 2; .*design=shapley_kernel"):
        ESTIMATOR(play(Additive((1.0, 2.0, 3.0)), ends))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(ConfigError, match=rf"estimator\.confidence: .* got {confidence}; "):
        KernelShap(confidence, 1000, 0)


def test_fewer_than_two_resamples_are_refused():
    with pytest.raises(ConfigError, match=r"estimator\.bootstrap: .*at least 2 .* got 1; "):
        KernelShap(0.95, 1, 0)


@pytest.mark.parametrize("n_coalitions", [2, 9, 40])
def test_few_coalitions_give_the_solution_nearest_to_an_equal_split(n_coalitions):
    n = 30
    game = UnanimitySum.random(n, (10, 20, 20), seed=4)
    sample = play(game, ShapleyKernel(n_coalitions, 1).sample(n))
    assert ESTIMATOR.minimum_coalitions(n) == 2
    rows = sample.coalitions.astype(float)
    gains = sample.utilities - sample.v_empty
    total = sample.v_full - sample.v_empty
    # independently: credits = total / n + B z with an orthonormal B of what sums to zero
    basis = np.linalg.svd(np.ones((1, n)))[2][1:].T
    left = gains - rows.sum(axis=1) * total / n
    z = np.linalg.lstsq(rows @ basis, left, rcond=1e-9)[0]
    credits = ESTIMATOR(sample).credits
    assert credits == pytest.approx(total / n + basis @ z, abs=1e-9)
    assert credits.sum() == pytest.approx(total)


@pytest.mark.parametrize(
    ("n_coalitions", "paired", "said"),
    [
        (3, False, "3 coalitions do not determine all credits for 5 .* at least 30"),
        (16, False, "16 coalitions are few for 5 contributors"),
        (30, False, None),  # all that there are
        (16, True, "16 coalitions are few"),
    ],
)
def test_it_says_that_coalitions_are_few(n_coalitions, paired, said):
    rows = all_coalitions(5)[1:-1]
    order = [at for pair in zip(range(15), range(29, 14, -1), strict=True) for at in pair]
    chosen = rows[order] if paired else rows
    advice = ESTIMATOR.advice(chosen[:n_coalitions])
    assert advice is None if said is None else re.match(said, advice)


def test_coalitions_with_their_complements_are_enough_with_half_as_many():
    drawn = PairedUniform(200, 0, ends=True).sample(20).coalitions
    assert ESTIMATOR.advice(drawn) is None
    assert ESTIMATOR.advice(drawn[:-1]).endswith("design=paired_uniform")
    assert "at least 400" in ESTIMATOR.advice(ShapleyKernel(200, 0).sample(20).coalitions)


# ----------------------------------------------------------------------------- records, noise, size


@pytest.mark.parametrize("n_players", [3, 11, 300])
def test_coalitions_that_somebody_recorded_have_the_weights_of_the_kernel(n_players):
    coalitions = Stratified(40, 0, paired=True).sample(n_players).coalitions
    weights = importance_weights(coalitions, np.full(len(coalitions), -3.7))
    kernel = np.array(
        [
            -log(comb(n_players, int(size)) * int(size) * (n_players - int(size)))
            for size in coalitions.sum(axis=1)
        ]
    )
    relative = np.exp(kernel - kernel.max())
    np.testing.assert_allclose(weights, relative / relative.sum(), rtol=1e-9)


def credits_of(sample):
    return ESTIMATOR(sample).credits


@pytest.mark.parametrize("design", [ends_and_pairs, orders, Bernoulli, ShapleyKernel])
@pytest.mark.parametrize("budget", [4, 30, 62])
def test_noise_errors_add_up_what_every_utility_moves(design, budget):
    game = UnanimitySum.random(6, (6, 6), seed=3)
    sample = play(game, design(budget, 1).sample(6), noise_variance=0.3)
    data = regression(sample)
    moved = []
    for coalition in np.unique(sample.coalitions, axis=0):
        bump = (sample.coalitions == coalition).all(axis=1) * 1.0
        if 0 < coalition.sum() < 6:
            moved.append(credits_of(replace(sample, utilities=sample.utilities + bump)))
    moved.append(credits_of(replace(sample, v_empty=sample.v_empty + 1)))
    moved.append(credits_of(replace(sample, v_full=sample.v_full + 1)))
    squares = ((np.array(moved) - credits_of(sample)) ** 2).sum(axis=0)
    found = noise_of_credits(data, least_squares(data), sample)
    np.testing.assert_allclose(found, np.sqrt(0.3 * squares), rtol=1e-9)


def test_noise_of_all_coalitions_is_the_error_of_the_exact_values():
    sample = play(INTERACTIONS, Exhaustive().sample(10), noise_variance=0.2)
    found, exact = ESTIMATOR(sample), Exact(0.95)(sample)
    np.testing.assert_allclose(found.noise_errors, exact.noise_errors, rtol=1e-9)
    np.testing.assert_allclose(found.std_errors, exact.std_errors, rtol=1e-9)


def test_noise_that_nobody_measured_is_unknown():
    sample = play(INTERACTIONS, ShapleyKernel(60, 0).sample(10))
    assert np.isnan(ESTIMATOR(sample).noise_errors).all()


@pytest.mark.parametrize("design", [ends_and_pairs, orders, ShapleyKernel])
def test_a_thousand_contributors(design):
    worth = np.linspace(0, 1, 1000)
    noisy = NoisyGame(Additive(tuple(worth)), 0.1, 0)
    sample = play(noisy, design(5_000, 0).sample(1000), noise_variance=0.01)
    found = replace(ESTIMATOR, bootstrap=10)(sample)
    assert np.isfinite(found.std_errors).all()
    errors = (found.credits - worth) / found.noise_errors
    assert 0.8 < errors.std() < 1.2


def test_noise_is_known_where_the_whole_error_is_not():
    """Credits are linear in the utilities, so noise is read off what changing each of them does."""
    drawn = LeaveOneOut().sample(10)
    nine = Sample(drawn.coalitions[:9], drawn.log_probabilities[:9])
    sample = play(INTERACTIONS, nine, noise_variance=0.25)
    attribution = ESTIMATOR(sample)
    assert np.isnan(attribution.std_errors).all()

    def moved(change, v_empty=0.0, v_full=0.0):
        other = replace(
            sample,
            utilities=sample.utilities + change,
            v_empty=sample.v_empty + v_empty,
            v_full=sample.v_full + v_full,
        )
        return ESTIMATOR(other).credits - attribution.credits

    effects = [moved(change) for change in np.eye(9)] + [moved(0, 1.0), moved(0, 0, 1.0)]
    expected = 0.5 * np.linalg.norm(effects, axis=0)
    np.testing.assert_allclose(attribution.noise_errors, expected, rtol=1e-6)


def test_repeats_of_other_utilities_in_another_order_do_not_change_the_interval():
    game = NoisyGame(UnanimitySum.random(4, (4, 4), seed=2), 0.5, 0)
    sample = play(game, ShapleyKernel(40, 0).sample(4))
    rough = sample.utilities + np.random.default_rng(0).normal(size=40)
    sample = replace(sample, utilities=rough)  # 14 coalitions, many of them on several rows
    order = np.random.default_rng(1).permutation(40)
    first, second = ESTIMATOR(sample), ESTIMATOR(permuted(sample, order))
    for field in ("credits", "std_errors", "ci_low", "ci_high"):
        np.testing.assert_allclose(
            getattr(first, field), getattr(second, field), rtol=0, atol=1e-12
        )


def test_noise_of_credits_that_are_not_determined_is_known():
    """Of (1, 1, 0) alone: phi = (g / 2, g / 2, total - g), with g the gain and 3 evaluations."""
    one = Sample(np.array([[True, True, False]]), np.zeros(1))
    found = ESTIMATOR(play(Additive((3.0, 1.0, 2.0)), one, noise_variance=0.25))
    assert "do not determine" in found.explanation
    np.testing.assert_allclose(found.credits, [2, 2, 2], rtol=0, atol=1e-9)
    # v(S) and v(empty) move the halves by 1/2 and -1/2; v(N) and v(S) move the third by 1 and -1
    half, third = 0.5 * np.sqrt(0.5), 0.5 * np.sqrt(2)
    np.testing.assert_allclose(found.noise_errors, [half, half, third], rtol=1e-9)


def test_errors_are_known_where_weights_are_below_the_smallest_float():
    """Halves of 1,200 contributors weigh exp(-800) of single ones, and change nothing."""
    n = 1200
    rng = np.random.default_rng(0)
    ends = np.concatenate([np.eye(n, dtype=bool), ~np.eye(n, dtype=bool)])
    halves = rng.random((3, n)).argsort(axis=1) < n // 2
    game = NoisyGame(Additive(tuple(np.linspace(0, 1, n))), 0.1, 0)
    both = np.concatenate([ends, halves])
    estimator = replace(ESTIMATOR, bootstrap=4)
    found = estimator(play(game, Sample(both, np.zeros(len(both)))))
    without = estimator(play(game, Sample(ends, np.zeros(len(ends)))))
    np.testing.assert_allclose(found.credits, without.credits, rtol=0, atol=1e-9)
    assert np.isfinite(found.std_errors).all()
