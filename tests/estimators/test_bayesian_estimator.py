import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import degrees_of, ends_first, error
from scipy.special import softmax
from scipy.stats import norm

from crediting.design import Exhaustive, PairedUniform, ShapleyKernel
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Bayesian, Exact, KernelShap
from crediting.estimators.exact import shapley_noise_covariance
from crediting.estimators.pairs import posterior as pair_posterior
from crediting.estimators.pairs.differences import (
    complementary_pairs,
    shapley_weights,
    weighted_covariance,
)
from crediting.estimators.pairs.expectation import Prior
from crediting.estimators.pairs.growth import CONSTANT, Growth, Remainder
from crediting.estimators.uncertainty import by_covariance
from crediting.game import EvaluatedSample, Sample, play
from crediting.game.coalition import all_coalitions
from crediting.game.enumeration import shapley_values
from crediting.game.recorded import read_recorded
from crediting.game.toy import Additive, Airport, Gloves, UnanimitySum

DIGITS_GAME = Path(__file__).parents[2] / "benchmarks" / "estimators" / "digits_game.csv"
SATURATING = Growth(0.3, (2,), 4.0)
BAYESIAN = Bayesian(confidence=0.95, signal=10.0, signal_spread=1.25, towards=None)


def with_complements(coalitions):
    return np.stack([coalitions, ~coalitions], axis=1).reshape(-1, coalitions.shape[1])


def pairs(n, count, seed=0):
    """Return distinct coalitions of uniform size, each followed by its complement."""
    rng = np.random.default_rng(seed)
    found = {}
    while len(found) < count:
        row = np.zeros(n, bool)
        row[rng.permutation(n)[: rng.integers(1, n)]] = True
        row = row if row[0] else ~row
        found[row.tobytes()] = row
    return with_complements(np.array(list(found.values())))


def sample_of(coalitions, game, noise=0.0, seed=0):
    played = play(game, Sample(coalitions, np.zeros(len(coalitions))))
    rough = noise * np.random.default_rng(seed).normal(size=len(coalitions))
    return EvaluatedSample(
        coalitions,
        played.log_probabilities,
        played.utilities + rough,
        played.v_empty,
        played.v_full,
        math.nan,
    )


def mixed(n, seed=0):
    """A game with all that real ones have: weights, pairs, triples, saturation; known values."""
    rng = np.random.default_rng(seed)
    weights, couples = rng.gamma(2.0, 1.0, n), np.triu(rng.normal(0, 0.4, (n, n)), 1)
    triples = [(list(rng.permutation(n)[:3]), rng.normal(0, 0.8)) for _ in range(2 * n)]

    def game(coalitions):
        c = coalitions.astype(float)
        three = sum(worth * c[:, members].prod(axis=1) for members, worth in triples)
        return (
            c @ weights
            + np.einsum("mi,ij,mj->m", c, couples, c)
            + three
            + 6 * (1 - np.exp(-3 * c.mean(axis=1)))
        )

    values = weights + (couples.sum(axis=0) + couples.sum(axis=1)) / 2
    for members, worth in triples:
        values[members] += worth / 3
    return game, values + 6 * (1 - math.exp(-3)) / n


# ------------------------------------------------------------------------------ the mathematics


@pytest.mark.parametrize("share", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("remainder", [Remainder(0.0), Remainder(2.0), Remainder(-2.0, 30.0, 4.0)])
@pytest.mark.parametrize("leaning", [0.0, 1.5])
@pytest.mark.parametrize("growth", [*pair_posterior.GROWTHS, SATURATING])
@pytest.mark.parametrize("which", [0, 9, 20])
def test_the_posterior_is_that_of_the_regression_on_all_coefficients(
    share, remainder, leaning, growth, which
):
    """Written out: every coefficient and every remainder is unknown, the grand pair is observed."""
    n, m = 5, 9
    sample = sample_of(pairs(n, m), mixed(n)[0], noise=0.3)
    found = complementary_pairs(sample, "test")
    towards = leaning * np.array([1.0, -2.0, 0.5, 0.5, 0.0])
    prior = Prior(Remainder(0.0), share, growth, towards)
    (candidate,) = pair_posterior.judged(found, 0.0, prior, [remainder])
    weights = np.eye(len(pair_posterior.SIGNALS))[which]
    _, posterior = pair_posterior.posterior(found, candidate, weights, noise=0.0)

    everything = complementary_pairs(sample_of(all_coalitions(n), mixed(n)[0]), "test")
    triples = list(itertools.combinations(range(n), 3))
    each = share / math.comb(n - 1, 2)
    terms = [1.0] + [growth.variance] * len(growth.powers)
    remainders = variances_of(remainder, everything.signs)
    strength = n * (share / 3 + sum(terms))
    if growth is SATURATING:
        single = np.flatnonzero(np.isin(everything.sizes, (1, n - 1)))[0]
        strength = n * saturating(1 - 2 / n) ** 2 / remainders[single]
    signal = pair_posterior.SIGNALS[which] / strength
    coefficients = np.repeat([*terms, each], [n] * len(terms) + [len(triples)])
    prior = np.diag(np.concatenate([signal * coefficients, remainders]))
    prior[:n, :n] += signal * np.outer(towards, towards)
    at = [int(np.flatnonzero((everything.signs == row).all(axis=1))[0]) for row in found.signs]
    picks = np.eye(len(everything.signs))[at]
    grand = np.append(features(np.ones((1, n)), growth, triples)[0], np.zeros(len(remainders)))
    rows = np.vstack([np.column_stack([features(found.signs, growth, triples), picks]), grand])
    size = found.signs.mean(axis=1)
    effects = np.column_stack([size, np.sinh(2 * size) if growth is SATURATING else size**3])
    observed = found.differences - found.total * size
    inside = rows @ prior @ rows.T + np.diag([0.0] * m + [1e-9])
    to_credits = np.zeros((n, len(prior)))
    to_credits[:, : len(terms) * n] = credits_of_growth(n, growth)
    for column, members in enumerate(triples):
        to_credits[list(members), len(terms) * n + column] = 1 / 3
    to_credits[:, len(coefficients) :] = shapley_weights(everything.signs)
    mean, covariance, square = least_squares(inside, effects, observed)
    scale = square / (m - 2)  # t and its curve are fitted
    given = inside[:-1, :-1] - np.outer(inside[:-1, -1], inside[:-1, -1]) / inside[-1, -1]
    volumes = (given, effects.T @ np.linalg.inv(given) @ effects)
    evidence = -(m - 2) / 2 * (np.log(scale) + 1)
    evidence -= sum(np.linalg.slogdet(volume)[1] for volume in volumes) / 2
    evidence += np.linalg.slogdet(effects.T @ effects)[1] / 2  # in whatever unit they are told
    evidence += pair_posterior.REMAINDERS.get(remainder, 0.0)
    evidence += pair_posterior.GROWTHS.get(growth, pair_posterior.SATURATED)
    evidence -= math.log(1 + share) / 2

    crossed = to_credits @ prior @ rows.T
    np.testing.assert_allclose(posterior.mean, crossed @ mean, atol=1e-5)
    covariance = scale * (to_credits @ prior @ to_credits.T - crossed @ covariance @ crossed.T)
    np.testing.assert_allclose(posterior.covariance, covariance, atol=1e-5 * abs(covariance).max())
    assert candidate.log_evidence[which] == pytest.approx(evidence, rel=1e-6)
    np.testing.assert_allclose(posterior.weights @ observed, posterior.mean, atol=1e-9)


def saturating(t):
    """What coefficients grow like where utilities saturate at a rate of 4."""
    return np.cosh(2 * t) / np.cosh(2)


def grown(growth, size):
    """Return the terms of a player's coefficient at these sizes."""
    alike = saturating(size) if growth is SATURATING else 1
    return [alike * size**power for power in (0, *growth.powers)]


def features(signs, growth, triples):
    linear = [signs * term[:, None] for term in grown(growth, signs.mean(axis=1))]
    return np.column_stack([*linear, *(signs[:, list(t)].prod(axis=1) for t in triples)])


def variances_of(remainder, signs):
    t = signs.mean(axis=1)
    by_size = 1 / (1 - t**2)  # n^2 / (4 s (n - s))
    if remainder.excess:
        return 1 + 30 * saturating(t) ** 2 / by_size**2
    return by_size**remainder.exponent


def credits_of_growth(n, growth):
    """Return the Shapley values (n, terms n) of all x_i g(t), by enumeration."""
    signs = np.where(all_coalitions(n), 1.0, -1.0)
    terms = grown(growth, signs.mean(axis=1))
    games = [signs[:, player] * term / 2 for term in terms for player in range(n)]
    return np.array([shapley_values(game) for game in games]).reshape(-1, n).T


def least_squares(inside, effects, observed):
    """Return what is made of observations whose effects may be anything, and the grand pair's 0.

    That is V^-1 y less the effects, its covariance, and the square y' V^-1 y.
    """
    effects, seen = np.vstack([effects, [0.0, 0.0]]), np.append(observed, 0.0)
    inverse = np.linalg.inv(inside)
    projected = effects.T @ inverse
    inverse = inverse - projected.T @ np.linalg.solve(projected @ effects, projected)
    return inverse @ seen, inverse, float(seen @ inverse @ seen)


def test_first_order_alone_is_third_order_without_weight():
    found = complementary_pairs(sample_of(pairs(7, 25), mixed(7)[0], noise=0.3), "test")
    weights = np.full(len(pair_posterior.SIGNALS), 1 / len(pair_posterior.SIGNALS))
    two = Remainder(2.0)
    priors = [Prior(two, share, CONSTANT, np.zeros(7)) for share in (1e-12, 0.0)]
    small, none = (next(pair_posterior.judged(found, math.nan, prior, [two])) for prior in priors)
    np.testing.assert_allclose(small.log_evidence, none.log_evidence, rtol=1e-6)
    for noise in (math.nan, 0.2):
        one, other = (pair_posterior.posterior(found, c, weights, noise)[1] for c in (small, none))
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-6)
        np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-6)
        np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)


def test_what_evaluated_pairs_leave_unexplained_counts_with_its_weight_in_the_definition():
    """With all pairs but one evaluated, only that one's remainder is uncertain."""
    game = UnanimitySum.random(6, [6, 6, 6, 6], 1)
    lacking = all_coalitions(6)[1:-1]
    lacking = lacking[~np.isin(np.arange(len(lacking)), [20, 61 - 20])]
    found = BAYESIAN(sample_of(lacking, game))
    assert error(found.credits, game.shapley_values) < 1e-3
    everything = complementary_pairs(sample_of(all_coalitions(6), game), "test")
    exact = everything.total / 6 + shapley_weights(everything.signs) @ everything.differences
    np.testing.assert_allclose(exact, game.shapley_values, atol=1e-12)
    variance = np.array([3.0, 2.0, 1.0, 2.0, 3.0])
    w = shapley_weights(everything.signs)
    brute = (w * variance[everything.sizes - 1]) @ w.T
    np.testing.assert_allclose(weighted_covariance(variance), brute, atol=1e-12)


def test_priors_are_averaged_and_what_they_differ_by_is_uncertain():
    """The law of total covariance, over every prior and strength of the signal one by one."""
    sample = sample_of(pairs(6, 12), mixed(6)[0], noise=1.0)
    found = complementary_pairs(sample, "test")
    logs, parts = [], []
    for candidate in pair_posterior.candidates(found, math.nan, None):
        for signal, evidence, alone in zip(
            pair_posterior.SIGNALS,
            candidate.log_evidence,
            np.eye(len(pair_posterior.SIGNALS)),
            strict=True,
        ):
            parts.append(pair_posterior.posterior(found, candidate, alone, math.nan)[1])
            logs.append(evidence + norm.logpdf(math.log(signal), math.log(10.0), 1.25))
    weights = softmax(logs)
    means = np.array([part.mean for part in parts])
    within = np.einsum("k,kij->ij", weights, [part.covariance for part in parts])
    between = np.cov(means.T, aweights=weights, bias=True)
    assert np.trace(between) > 0.02 * np.trace(within)
    left = 12 - 2  # t and t^3 are fitted, and then the strength of the signal
    errors = np.sqrt(np.diag(within + between) * left / (left - 1))
    attribution = BAYESIAN(sample)
    np.testing.assert_allclose(attribution.credits, found.total / 6 + weights @ means, atol=5e-3)
    np.testing.assert_allclose(attribution.std_errors, errors, rtol=2e-3)


def test_of_complete_pairs_nothing_but_the_noise_of_exact_values_is_uncertain():
    n, noise = 5, 0.7
    sample = sample_of(all_coalitions(n), mixed(n)[0], noise=0.3)
    found = complementary_pairs(sample, "test")
    prior = Prior(Remainder(2.0), 1.0, CONSTANT, np.zeros(n))
    (candidate,) = pair_posterior.judged(found, math.nan, prior, [prior.remainder])
    weights = np.full(len(pair_posterior.SIGNALS), 1 / len(pair_posterior.SIGNALS))
    none, some, unmeasured = (
        pair_posterior.posterior(found, candidate, weights, 2 * variance)[1].covariance
        for variance in (0.0, noise, math.nan)
    )
    scale = candidate.scales.mean()  # of the remainders; half of it is taken for noise
    np.testing.assert_allclose(none, 0, atol=1e-9 * scale)
    of_noise = shapley_noise_covariance(replace(sample, noise_variance=noise))
    np.testing.assert_allclose(some, of_noise, atol=1e-9 * scale)
    np.testing.assert_allclose(unmeasured, of_noise / noise * scale / 4, atol=1e-9 * scale)


def test_rounding_does_not_change_the_draws_of_errors_that_are_alike():
    """Any basis has the eigenvectors of equal eigenvalues, but there is one symmetric root."""
    sample = sample_of(pairs(6, 12), mixed(6)[0])
    blur = 1e-15 * np.random.default_rng(0).normal(size=(6, 6))
    one, other = (
        by_covariance(np.zeros(6), np.eye(6) - 1 / 6 + more, 9.0, sample, "any", 0.95, np.zeros(6))
        for more in (0, blur + blur.T)
    )
    np.testing.assert_allclose(other.draws, one.draws, atol=1e-6)


def test_leaning_helps_where_credits_are_alike_and_does_little_harm_where_not():
    errors = {"equal": [], "alike": [], "unlike": []}
    for seed in range(12):
        game, values = mixed(20, seed)
        sample = sample_of(pairs(20, 15, seed), game, noise=3.0, seed=seed)
        unlike = np.random.default_rng(seed).normal(size=20)
        for kind, towards in (("equal", None), ("alike", 7 * values + 100), ("unlike", unlike)):
            credits = replace(BAYESIAN, towards=towards)(sample).credits
            assert credits.sum() == pytest.approx(sample.v_full - sample.v_empty)
            errors[kind].append(error(credits, values))
    middle = {kind: np.median(found) for kind, found in errors.items()}
    assert middle["alike"] < 0.5 * middle["equal"]
    assert middle["unlike"] < 1.3 * middle["equal"]


def test_how_probable_it_is_that_credits_lean_is_told():
    def probability(towards):
        told = replace(BAYESIAN, towards=towards)(sample).explanation
        return float(told.partition("given numbers with probability ")[2].removesuffix("."))

    game, values = mixed(20)
    sample = sample_of(pairs(20, 60), game)
    assert probability(values.tolist()) > 0.95
    assert probability(np.random.default_rng(0).permutation(values).tolist()) < 0.5
    assert probability([3.0] * 20) == 0
    assert "lean" not in BAYESIAN(sample).explanation


def test_measured_noise_is_told_and_widens_the_intervals():
    sample = sample_of(pairs(10, 25), mixed(10)[0], noise=1.0)
    found = {v: BAYESIAN(replace(sample, noise_variance=v)) for v in (math.nan, 0.0, 1.0, 4.0)}
    assert np.isnan(found[math.nan].noise_errors).all()
    assert not found[0.0].noise_errors.any()
    np.testing.assert_allclose(found[0.0].credits, found[math.nan].credits)
    widths = [found[v].std_errors.mean() for v in (0.0, 1.0, 4.0)]
    assert widths == sorted(widths)
    assert (found[1.0].noise_errors <= found[1.0].std_errors).all()
    again = [
        BAYESIAN(replace(sample, utilities=u, v_empty=e[0], v_full=e[1], noise_variance=0.0))
        for u, e in perturbed(sample, 0.001, 100)
    ]
    spread = np.std([a.credits for a in again], axis=0)
    small = BAYESIAN(replace(sample, noise_variance=0.001**2)).noise_errors
    np.testing.assert_allclose(small, spread, rtol=0.3)


@pytest.mark.parametrize("noise", [0.5, 2.0, 8.0])
def test_intervals_are_no_surer_than_the_noise_that_is_in_them(noise):
    """Satterthwaite (1946): degrees of freedom of a variance that is a sum of two."""
    sample = sample_of(pairs(10, 40), mixed(10)[0], noise=noise)
    sample = replace(sample, noise_variance=noise**2)
    found = BAYESIAN(sample)
    told_by_two = BAYESIAN(replace(sample, noise_degrees=2.0))
    share = (found.noise_errors**2).sum() / (found.std_errors**2).sum()
    rest = degrees_of(found)[0]  # noise that is known for sure takes no degrees of freedom
    expected = 1 / ((1 - share) ** 2 / rest + share**2 / 2)
    np.testing.assert_allclose(degrees_of(told_by_two), min(rest, expected), rtol=1e-4)
    np.testing.assert_allclose(told_by_two.std_errors, found.std_errors)
    if noise > 1:
        assert expected < 0.8 * rest


def perturbed(sample, scale, times):
    rng = np.random.default_rng(0)
    for _ in range(times):
        errors = scale * rng.normal(size=len(sample) + 2)
        yield sample.utilities + errors[2:], (sample.v_empty + errors[0], sample.v_full + errors[1])


# ------------------------------------------------------------------------------ the credits


@pytest.mark.parametrize(
    "game", [Additive((3.0, 1.0, -2.0, 0.5, 7.0)), Gloves(2, 3), Airport((1.0, 2.0, 2.0, 5.0, 9.0))]
)
@pytest.mark.parametrize("ends", [True, False])
def test_all_coalitions_give_the_exact_values(game, ends):
    everything = sample_of(all_coalitions(5), game)
    coalitions = all_coalitions(5) if ends else all_coalitions(5)[1:-1]
    found = BAYESIAN(sample_of(coalitions, game))
    np.testing.assert_allclose(found.credits, Exact(0.95)(everything).credits, atol=1e-12)
    assert not found.std_errors.any()
    assert found.estimator == "bayesian"


@pytest.mark.parametrize("count", [1, 3, 12, 60])
def test_credits_hand_out_everything(count):
    sample = sample_of(pairs(10, count), mixed(10)[0], noise=2.0)
    found = BAYESIAN(sample)
    assert found.credits.sum() == pytest.approx(sample.v_full - sample.v_empty, abs=1e-9)
    assert found.n_coalitions == 2 * count
    assert (found.ci_low < found.credits).all()
    assert (found.credits < found.ci_high).all()


def test_interactions_of_two_do_not_matter():
    """They are even: pairs cancel them, whatever they are."""
    n = 8
    coalitions = pairs(n, 20)
    couples = np.triu(np.random.default_rng(1).normal(0, 5, (n, n)), 1)
    couples -= couples.sum() / math.comb(n, 2) * np.triu(np.ones((n, n)), 1)  # v(N) stays

    def with_couples(c):
        return mixed(n)[0](c) + np.einsum("mi,ij,mj->m", 2.0 * c - 1, couples, 2.0 * c - 1)

    one, other = (BAYESIAN(sample_of(coalitions, g)) for g in (mixed(n)[0], with_couples))
    np.testing.assert_allclose(one.credits, other.credits, atol=1e-6)


def test_order_and_repeats_change_nothing_and_units_only_the_unit():
    sample = sample_of(pairs(9, 20), mixed(9)[0], noise=1.0)
    order = np.random.default_rng(3).permutation(40).repeat(2)
    again = EvaluatedSample(
        sample.coalitions[order],
        sample.log_probabilities[order],
        1000 * sample.utilities[order] - 7,
        1000 * sample.v_empty - 7,
        1000 * sample.v_full - 7,
        sample.noise_variance,
    )
    one, other = BAYESIAN(sample), BAYESIAN(again)
    np.testing.assert_allclose(1000 * one.credits, other.credits, rtol=1e-6)
    np.testing.assert_allclose(1000 * one.std_errors, other.std_errors, rtol=1e-6)


def test_a_renamed_player_keeps_its_credit():
    sample = sample_of(pairs(7, 15), mixed(7)[0], noise=1.0)
    order = np.random.default_rng(5).permutation(7)
    renamed = EvaluatedSample(
        sample.coalitions[:, order],
        sample.log_probabilities,
        sample.utilities,
        sample.v_empty,
        sample.v_full,
        sample.noise_variance,
    )
    np.testing.assert_allclose(
        BAYESIAN(sample).credits[order], BAYESIAN(renamed).credits, rtol=1e-7, atol=1e-9
    )


def test_without_any_difference_the_split_is_equal():
    sample = sample_of(pairs(6, 5), Additive((2.0,) * 6))
    found = BAYESIAN(sample)
    np.testing.assert_allclose(found.credits, 2.0)


# ------------------------------------------------------------------------------ how good it is


@pytest.mark.parametrize(("noise", "times_n"), [(0.0, 5), (0.5, 5), (0.5, 10), (2.0, 10)])
def test_its_squared_error_is_less_than_half_of_the_papers(noise, times_n):
    errors = {"ours": [], "paper": []}
    for seed in range(20):
        game, values = mixed(10, seed)
        m = 10 * times_n
        ours = BAYESIAN(sample_of(pairs(10, m // 2, seed), game, noise, seed))
        drawn = ShapleyKernel(m, seed).sample(10)
        played = sample_of(drawn.coalitions, game, noise, seed)
        theirs = KernelShap(0.95, 2, 0)(
            EvaluatedSample(
                drawn.coalitions,
                drawn.log_probabilities,
                played.utilities,
                played.v_empty,
                played.v_full,
                math.nan,
            )
        )
        errors["ours"].append(error(ours.credits, values))
        errors["paper"].append(error(theirs.credits, values))
    assert 2 * np.median(errors["ours"]) < np.median(errors["paper"])


@pytest.mark.parametrize(("noise", "count"), [(0.5, 15), (2.0, 25), (2.0, 50)])
def test_intervals_hold_what_they_promise(noise, count):
    inside = []
    for seed in range(60):
        game, values = mixed(10, seed % 6)
        sample = sample_of(pairs(10, count, seed), game, noise, seed)
        found = BAYESIAN(replace(sample, noise_variance=noise**2))
        inside.append((found.ci_low <= values) & (values <= found.ci_high))
    assert 0.91 < np.mean(inside) < 0.99


@pytest.mark.parametrize(("noise", "count"), [(0.5, 6), (2.0, 8), (0.5, 10)])
def test_intervals_of_few_pairs_hold_what_they_promise(noise, count):
    """Numbers that were fitted to the differences make what is left of them look small."""
    inside = []
    for seed in range(60):
        game, values = mixed(10, seed % 6)
        found = BAYESIAN(sample_of(pairs(10, count, seed), game, noise, seed))
        inside.append((found.ci_low <= values) & (values <= found.ci_high))
    assert 0.93 < np.mean(inside) < 0.99


@pytest.mark.parametrize("beyond", [0, 4, 8])
def test_single_contributors_alone_are_no_remainders(beyond):
    """With them, and few more, nothing tells how they vary."""
    n, inside, ratios = 20, [], []
    for seed in range(8):
        weights = np.random.default_rng(seed).gamma(1.0, size=n)
        design = ends_first(2 * n + beyond, seed, n)
        for concave in (False, True):
            game = (lambda c, w=weights: c @ w) if not concave else Airport(tuple(weights))
            values = weights if not concave else game.shapley_values
            found = BAYESIAN(play(game, design))
            inside.append((found.ci_low <= values) & (values <= found.ci_high))
            ratios.append(error(found.credits, values))
    assert np.mean(inside) > 0.93
    assert np.median(ratios) < 0.3


@pytest.mark.parametrize("times", [1, 2])
def test_few_coalitions_of_the_default_design_are_better_than_an_equal_split(times):
    """Single contributors and everybody else by themselves mislead where few would do, and hide
    what is noise."""
    n, inside, errors = 50, [], []
    for seed in range(4):
        weights = np.random.default_rng(seed).gamma(2.0, size=n)
        noisy_sum = (lambda c, w=weights: c @ w, weights, 1.5)
        for game, values, noise in (noisy_sum, (*saturated_game(n, 50, seed), 0.02)):
            drawn = PairedUniform(times * n, seed, ends=True).sample(n)
            sample = sample_of(drawn.coalitions, game, noise, seed)
            found = BAYESIAN(replace(sample, noise_variance=noise**2))
            inside.append((found.ci_low <= values) & (values <= found.ci_high))
            errors.append(error(found.credits, values))
    assert max(errors) < 1
    assert np.median(errors) < 1 - 0.2 * times
    assert np.mean(inside) > 0.85


@pytest.mark.parametrize(
    ("n", "drawn", "better"),
    [(50, 100, 150), (10, 28, 30), (10, 30, None), (3, 4, 6), (3, 6, None)],
)
def test_fewer_than_three_coalitions_per_contributor_are_told_to_be_few(n, drawn, better):
    some = np.eye(n, dtype=bool)[np.arange(drawn // 2) % n]
    advice = BAYESIAN.advice(np.vstack([np.zeros(n, bool), some, ~some, np.ones(n, bool)]))
    assert (advice is None) == (better is None)
    assert better is None or f"{drawn} coalitions are few for {n} contributors" in advice
    assert better is None or advice.endswith(f"use at least {better}")


@pytest.mark.parametrize("n", [10, 20])
def test_coalitions_without_their_complements_are_told_and_not_used(n):
    paired = pairs(n, 3 * n)
    more = np.vstack([paired, pairs(n, 3 * n + 5)[2 * 3 * n :: 2]])
    game, _ = mixed(n)
    found = BAYESIAN(sample_of(more, game))
    assert found.explanation.startswith(f"5 of {6 * n + 5} coalitions are without")
    assert found.explanation == BAYESIAN.advice(more)
    np.testing.assert_allclose(found.credits, BAYESIAN(sample_of(paired, game)).credits)
    assert BAYESIAN(sample_of(paired, game)).explanation == ""
    with pytest.raises(
        ConfigError, match=r"none of these 5 has its own; take design=.* table, add complements\)"
    ):
        BAYESIAN.require(more[6 * n :])
    BAYESIAN.require(more)


def test_more_coalitions_make_nothing_worse_where_their_size_matters():
    """Beyond the pairs up to which triples are modelled, what size changes still is."""
    weights = np.random.default_rng(0).gamma(2.0, 1.0, 12)

    def saturating(coalitions):
        return np.log1p(coalitions @ weights)

    values = shapley_values(saturating(all_coalitions(12)))
    errors = {}
    for budget in (1300, 1500):
        rows = PairedUniform(budget, 0, ends=True).sample(12)
        found = BAYESIAN(play(saturating, rows))
        errors[budget] = np.sqrt(np.mean((found.credits - values) ** 2))
        assert ((found.ci_low <= values) & (values <= found.ci_high)).sum() >= 9
    assert errors[1500] < 4 * errors[1300]  # nine times with the first order alone


@pytest.mark.parametrize(("noise", "most"), [(0.0, 3e-3), (0.1, 2e-2)])
def test_many_contributors_of_whom_an_eighth_would_do(noise, most):
    """v(S) = 1 - exp(-8 w(S)): integrals of products give its values (multilinear extension)."""
    n = 50
    weights = np.random.default_rng(1).gamma(2.0, size=n)
    weights /= weights.sum()

    def saturating(coalitions):
        return 1 - np.exp(-8 * (coalitions @ weights))

    nodes, shares = np.polynomial.legendre.leggauss(100)
    joins = (nodes[:, None] + 1) / 2
    left = 1 - joins + joins * np.exp(-8 * weights)
    others = left.prod(axis=1, keepdims=True) / left
    values = shares / 2 @ (others * (1 - np.exp(-8 * weights)))
    assert values.sum() == pytest.approx(1 - math.exp(-8))
    rows = PairedUniform(4000, 0, ends=True).sample(n)
    sample = play(saturating, rows, noise_variance=0.0)
    deviation = noise * sample.utilities.std()
    errors = deviation * np.random.default_rng(2).normal(size=4000)
    found = BAYESIAN(
        replace(sample, utilities=sample.utilities + errors, noise_variance=deviation**2)
    )
    assert error(found.credits, values) < most  # a thirtieth with t^2 alone, without noise
    assert ((found.ci_low <= values) & (values <= found.ci_high)).mean() >= 0.9


def test_utilities_that_are_all_alike_are_as_unsure_as_their_noise():
    rows = Sample(pairs(5, 6), np.zeros(12))
    for noise in (math.nan, 0.0, 0.01):
        sample = play(Additive((0.0,) * 5), rows, noise_variance=noise)
        found = BAYESIAN(sample)
        np.testing.assert_allclose(found.credits, 0, atol=1e-12)
        if noise > 0:
            assert (found.std_errors >= 0.01).all()
            assert (found.ci_high - found.ci_low > 0).all()
            assert (found.noise_errors > 0).all()
        else:
            assert np.isnan(found.std_errors).all()
            assert "errors cannot be estimated" in found.explanation


def test_a_pair_that_an_equal_split_explains_does_not_hide_the_others():
    coalitions = with_complements(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]], dtype=bool))
    found = BAYESIAN(sample_of(coalitions, Additive((3.0, 1.0, 2.0, 2.0))))
    assert found.credits[0] > 2.1
    assert (found.std_errors > 0).all()


def test_a_single_pair_is_better_than_nothing_and_never_far_off():
    found = []
    for seed in range(40):
        game, values = mixed(10, seed % 5)
        credits = BAYESIAN(sample_of(pairs(10, 1, seed), game, 2.0, seed)).credits
        found.append(error(credits, values))
    assert np.median(found) < 1.05


@pytest.mark.parametrize("curve", [lambda s: s**3.0, lambda s: 1e6 * s**3 + 1e9, lambda s: s > 0])
@pytest.mark.parametrize(("n", "m"), [(4, 8), (6, 20), (10, 200)])
def test_of_contributors_who_are_all_alike_credits_are_alike(curve, n, m):
    """What size effects explain exactly leaves nothing, not even rounding, to tell credits by."""
    coalitions = PairedUniform(m, 0, ends=True).sample(n).coalitions
    found = BAYESIAN(sample_of(coalitions, lambda rows: 1.0 * curve(rows.sum(axis=1))))
    np.testing.assert_allclose(found.credits, (found.v_full - found.v_empty) / n, rtol=1e-6)
    assert (found.std_errors < 1e-6 * found.v_full).all()


def test_a_jump_at_the_ends_does_not_matter():
    """What the untrained model lacks is the same for everybody."""
    game, values = mixed(10)

    def jumping(coalitions):
        return game(coalitions) + 300.0 * coalitions.any(axis=1)

    coalitions = pairs(10, 25)
    plain, jumped = (BAYESIAN(sample_of(coalitions, g, noise=0.5)) for g in (game, jumping))
    np.testing.assert_allclose(jumped.credits, plain.credits + 30.0, atol=0.05)
    assert error(jumped.credits, values + 30.0) < 0.2


def saturated_game(n, rate, seed):
    """A game 1 - exp(-rate w(S)) of weights that sum to 1; its values, an integral of products.

    Source: Owen, "Multilinear extensions of games", 1972.
    """
    weights = np.random.default_rng(seed).gamma(2.0, size=n)
    weights /= weights.sum()
    nodes, shares = np.polynomial.legendre.leggauss(200)
    left = 1 - (nodes[:, None] + 1) / 2 * (1 - np.exp(-rate * weights))
    others = left.prod(axis=1, keepdims=True) / left
    values = shares / 2 @ (others * (1 - np.exp(-rate * weights)))
    return lambda coalitions: 1 - np.exp(-rate * (coalitions @ weights)), values


@pytest.mark.parametrize("rate", [20, 50])
def test_games_that_few_contributors_nearly_decide_are_foreseen(rate, monkeypatch):
    """Where differences of most coalitions are zero, others take credits to be alike."""
    inside, errors, without = [], [], []
    for seed in range(4):
        game, values = saturated_game(50, rate, seed)
        coalitions = ends_first(250, seed, 50).coalitions
        sample = replace(sample_of(coalitions, game, 0.02, seed), noise_variance=0.02**2)
        found = BAYESIAN(sample)
        assert found.credits.sum() == pytest.approx(found.v_full - found.v_empty)
        inside.append((found.ci_low <= values) & (values <= found.ci_high))
        errors.append(error(found.credits, values))
        with monkeypatch.context() as patched:
            patched.setattr(pair_posterior, "RATES", np.array([]))
            without.append(error(BAYESIAN(sample).credits, values))
    assert np.mean(inside) > 0.85
    assert np.mean(errors) < min(0.05, np.mean(without) / 3)


@pytest.mark.parametrize("rate", [1, 8, 50])
def test_priors_that_are_not_tried_would_have_changed_nothing(rate, monkeypatch):
    game, _ = saturated_game(50, rate, 0)
    sample = play(game, PairedUniform(500, 0, ends=True).sample(50))
    found = complementary_pairs(sample, "test")
    tried = pair_posterior.candidates(found, 0.0, None)
    credits = BAYESIAN(sample).credits
    monkeypatch.setattr(pair_posterior, "HOPELESS", math.inf)
    assert len(pair_posterior.candidates(found, 0.0, None)) > len(tried)
    np.testing.assert_allclose(BAYESIAN(sample).credits, credits, rtol=1e-9)


def test_no_utility_saturates_long_before_a_single_contributor():
    sample = sample_of(pairs(6, 20), mixed(6)[0])
    tried = pair_posterior.candidates(complementary_pairs(sample, "test"), 0.0, None)
    rates = {candidate.prior.growth.rate for candidate in tried}
    assert max(rates) == pytest.approx(4 * math.sqrt(8))
    assert len(rates) == 1 + 4


def test_on_a_real_game_it_is_many_times_better_than_the_papers_scheme():
    """Sparsified fine-tuning of ten contributors of handwriting, all 1,024 coalitions known."""
    recorded = read_recorded(DIGITS_GAME, None)
    for name in recorded.properties:
        game = recorded.of(name)
        exact = Exact(0.95)(play(game, Exhaustive().sample(10))).credits
        ours, paper = [], []
        for seed in range(20):
            drawn = PairedUniform(100, seed, ends=True).sample(10)
            ours.append(error(BAYESIAN(play(game, drawn)).credits, exact))
            theirs = KernelShap(0.95, 2, 0)(play(game, ShapleyKernel(100, seed).sample(10)))
            paper.append(error(theirs.credits, exact))
        assert np.median(ours) < 0.1
        assert np.median(paper) > 10 * np.median(ours)


# ------------------------------------------------------------------------------ what cannot be


def test_coalitions_without_complements_are_refused():
    single = np.array([[True, False, False], [True, True, False]])
    with pytest.raises(
        LedgerError, match=r"none of the 2 coalitions has its own; .*paired_uniform"
    ):
        BAYESIAN(sample_of(single, Additive((1.0, 2.0, 3.0))))


def test_what_has_no_complement_is_left_out():
    game = mixed(6)[0]
    both = pairs(6, 8)
    alone = np.vstack([both, [[True, False, False, False, False, False]]])
    if any((row == alone[-1]).all() for row in both):
        alone = both
    np.testing.assert_allclose(
        BAYESIAN(sample_of(both, game)).credits, BAYESIAN(sample_of(alone, game)).credits
    )


def test_numbers_to_lean_towards_that_are_too_few_are_refused():
    with pytest.raises(ConfigError, match=r"estimator\.towards: expected 6 numbers.*got 2"):
        replace(BAYESIAN, towards=[1.0, 2.0])(sample_of(pairs(6, 5), mixed(6)[0]))
    with pytest.raises(ConfigError, match=r"estimator\.towards: expected 6 numbers.*got 2"):
        replace(BAYESIAN, towards=[1.0, 2.0]).require(pairs(6, 5))  # before anything is evaluated


def test_credits_lean_towards_how_many_examples_everybody_brought():
    sample = sample_of(pairs(6, 9), mixed(6)[0])
    brought = np.array([3, 40, 7, 11, 5, 2])
    leaning = replace(BAYESIAN, towards="examples")
    leaning.require(sample.coalitions)
    found = leaning(replace(sample, examples=brought))
    told = replace(BAYESIAN, towards=brought.tolist())(sample)
    np.testing.assert_array_equal(found.credits, told.credits)
    np.testing.assert_array_equal(found.ci_low, told.ci_low)
    assert (found.credits != BAYESIAN(sample).credits).any()
    with pytest.raises(ConfigError, match=r"estimator\.towards=examples: .*not recorded"):
        leaning(sample)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": 1.0}, r"estimator\.confidence: expected a number between 0 and 1"),
        ({"signal": 0.0}, r"estimator\.signal: expected a positive number"),
        ({"towards": [1.0, "x"]}, r"estimator\.towards: expected numbers, got 'x'"),
        ({"towards": [1.0, None]}, r"estimator\.towards: expected numbers, got None"),
        ({"towards": "size"}, r"estimator\.towards: .*or the word examples, got 'size'"),
        ({"signal_spread": -1.0}, r"estimator\.signal_spread: expected a positive number"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Bayesian(
            **{
                "confidence": 0.95,
                "signal": 10.0,
                "signal_spread": 1.25,
                "towards": None,
                **changes,
            }
        )


@pytest.mark.parametrize("size", [1, 3])
def test_one_pair_of_unequal_halves_tells_no_errors(size):
    """What its size does may be all that it shows."""
    game = Additive((5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.7))
    half = np.arange(8) < size
    sample = play(game, Sample(np.array([half, ~half]), np.zeros(2)))
    found = BAYESIAN(sample)
    assert np.isnan(found.std_errors).all()
    assert np.isnan(found.ci_low).all()
    assert found.credits.sum() == pytest.approx(15.7)
    assert "so errors cannot be estimated" in found.explanation


def test_one_pair_of_equal_halves_tells_some():
    game = Additive((5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.7))
    half = np.arange(8) < 4
    found = BAYESIAN(play(game, Sample(np.array([half, ~half]), np.zeros(2))))
    assert (found.std_errors > 0).all()


def test_replicates_of_a_coalition_count_with_their_mean():
    sample = sample_of(pairs(7, 12), mixed(7)[0], noise=1.0)
    apart = np.random.default_rng(4).normal(size=len(sample))
    twice = replace(
        sample,
        coalitions=np.concatenate([sample.coalitions, sample.coalitions]),
        log_probabilities=np.zeros(2 * len(sample)),
        utilities=np.concatenate([sample.utilities - apart, sample.utilities + apart]),
    )
    one, other = BAYESIAN(sample), BAYESIAN(twice)
    np.testing.assert_allclose(other.credits, one.credits, rtol=1e-9)
    np.testing.assert_allclose(other.std_errors, one.std_errors, rtol=1e-9)


@pytest.mark.parametrize(("nearer", "seen"), [(3, {0.0}), (4, {0.0, 2.0, 4.0, 6.0, -2.0})])
def test_three_pairs_of_another_size_do_not_tell_how_remainders_vary_with_it(nearer, seen):
    alone = np.eye(8, dtype=bool)
    threes = np.array([np.isin(np.arange(8), [0, 1, third]) for third in range(2, 2 + nearer)])
    sample = sample_of(with_complements(np.concatenate([alone, threes])), mixed(8)[0], noise=1.0)
    found = complementary_pairs(sample, "test")
    asked = pair_posterior.candidates(found, math.nan, None)
    assert {candidate.prior.remainder.exponent for candidate in asked} == seen


def test_of_halves_alone_nothing_but_what_is_likely_beforehand_tells_exponents_apart():
    halves = all_coalitions(6)
    halves = halves[(halves.sum(axis=1) == 3) & halves[:, 0]]
    found = complementary_pairs(sample_of(with_complements(halves), mixed(6)[0], noise=1.0), "test")
    asked = [Remainder(exponent) for exponent in (0.0, 2.0, 4.0, 6.0)]
    prior = Prior(asked[0], 0.3, CONSTANT, np.zeros(6))
    by_exponent = pair_posterior.judged(found, math.nan, prior, asked)
    evidence = np.array([candidate.log_evidence for candidate in by_exponent])
    beforehand = [[0.0], [0.0], [-2.0], [-4.0]]
    np.testing.assert_allclose(evidence - evidence[0], beforehand + 0 * evidence, atol=1e-9)
