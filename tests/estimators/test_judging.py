"""What pairs say of credits that have not seen them, and what `bayesian` makes of it."""

import numpy as np
import pytest

from crediting.design import Exhaustive, PairedUniform
from crediting.estimators import Bayesian, bayesian
from crediting.estimators.pairs import expectation, judging
from crediting.estimators.pairs import posterior as pair_posterior
from crediting.estimators.pairs.differences import complementary_pairs
from crediting.estimators.pairs.judging import spread
from crediting.game.game import play
from crediting.game.toy import UnanimitySum

BAYESIAN = Bayesian(confidence=0.95, signal=10.0, signal_spread=1.25, towards=None)
PLAYERS = 50


def few_decide(seed, rate=50):
    """A game that one player of fifty nearly decides, and its values: an integral of products.

    Source: Owen, "Multilinear extensions of games", 1972.
    """
    weights = np.random.default_rng(seed).gamma(2.0, size=PLAYERS)
    weights /= weights.sum()
    nodes, shares = np.polynomial.legendre.leggauss(200)
    left = 1 - (nodes[:, None] + 1) / 2 * (1 - np.exp(-rate * weights))
    others = left.prod(axis=1, keepdims=True) / left
    values = shares / 2 @ (others * (1 - np.exp(-rate * weights)))
    return lambda coalitions: 1 - np.exp(-rate * (coalitions @ weights)), values


@pytest.mark.parametrize("seed", range(3))
def test_with_all_pairs_the_spread_is_that_of_the_shapley_values(seed):
    """By the kernel's matrix; whatever the credits, and whatever the game."""
    game = UnanimitySum.random(7, (7, 9, 11), seed)
    pairs = complementary_pairs(play(game, Exhaustive().sample(7)), "test")
    credits = np.random.default_rng(seed).normal(size=7)
    credits += (pairs.total - credits.sum()) / 7
    apart = credits - credits.mean()
    found = spread(pairs, credits, np.zeros((7, 7)), np.zeros(len(pairs.differences)))
    expected = apart @ (game.shapley_values - credits) / (apart @ apart)
    assert found.share == pytest.approx(expected)


def test_errors_are_those_over_draws_of_coalitions():
    """Of credits that stay as they are, whatever is drawn."""
    game = UnanimitySum.random(9, (9, 12, 12), seed=1)
    credits = game.shapley_values * 0.5 + game.shapley_values.mean() * 0.5
    draws = []
    for seed in range(300):
        sample = play(game, PairedUniform(60, seed, ends=True).sample(9))
        pairs = complementary_pairs(sample, "test")
        draws.append(spread(pairs, credits, np.zeros((9, 9)), np.zeros(len(pairs.differences))))
    shares = np.array([draw.share for draw in draws])
    assert shares.mean() == pytest.approx(1.0, abs=4 * shares.std() / np.sqrt(300) + 0.03)
    errors = np.sqrt(np.mean([draw.error**2 for draw in draws]))
    assert errors == pytest.approx(shares.std(), rel=0.25)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_a_pair_takes_from_itself_is_what_credits_lack_without_it(share):
    game = UnanimitySum.random(9, (9, 12, 12), seed=2)
    pairs = complementary_pairs(play(game, PairedUniform(60, 0, ends=True).sample(9)), "test")
    growth = expectation.Growth(10.0, (2,))
    prior = expectation.Prior(2.0, share, growth, np.zeros(9))
    (candidate,) = pair_posterior.judged(pairs, 0.0, prior, [2.0])
    weights = np.eye(len(pair_posterior.SIGNALS))[11]
    _, found = pair_posterior.posterior(pairs, candidate, weights, noise=0.0)
    for out in (0, 5, 17, 29):
        others = pairs.of(np.arange(len(pairs.differences)) != out)
        _, without = pair_posterior.posterior(others, candidate, weights, noise=0.0)
        lacking = pairs.signs[out] @ (found.mean - without.mean)
        assert found.taken[out] == pytest.approx(lacking, rel=1e-6)


def test_leverages_do_not_depend_on_how_many_rows_are_worked_on_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    factor, axes, parts = rng.normal(size=(40, 6)), rng.normal(size=(6, 5)), rng.random((3, 5))
    once = expectation.Decomposed(np.ones(5), factor, axes, np.ones(40)).leverages(parts)
    vectors = factor @ axes
    expected = [np.diag(vectors @ np.diag(part) @ vectors.T) for part in parts]
    np.testing.assert_allclose(once, np.transpose(expected))
    monkeypatch.setattr(expectation, "ENTRIES_AT_ONCE", 7)
    again = expectation.Decomposed(np.ones(5), factor, axes, np.ones(40)).leverages(parts)
    np.testing.assert_allclose(again, once)
    whole = expectation.Decomposed(np.ones(5), None, vectors, np.ones(40)).leverages(parts)
    np.testing.assert_allclose(whole, once)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_credits_of_a_game_that_few_decide_are_spread_as_far_as_they_should(seed, monkeypatch):
    """Differences of most coalitions are zero, which the model takes for credits that are alike."""
    game, values = few_decide(seed)
    sample = play(game, PairedUniform(20 * PLAYERS, seed, ends=True).sample(PLAYERS))
    found = BAYESIAN(sample)
    inside = (found.ci_low <= values) & (values <= found.ci_high)
    assert inside.mean() >= 0.9
    assert found.credits.sum() == pytest.approx(found.v_full - found.v_empty)
    assert "times as far apart" in found.explanation
    monkeypatch.setattr(judging, "CONTRADICTED", np.inf)
    left = BAYESIAN(sample)
    assert ((left.credits - values) ** 2).sum() > 20 * ((found.credits - values) ** 2).sum()
    assert ((left.ci_low <= values) & (values <= left.ci_high)).mean() < 0.3


def test_credits_of_other_games_are_left_as_they_are():
    told = []
    for seed in range(30):
        game = UnanimitySum.random(8, (8, 8, 6), seed)
        sample = play(game, PairedUniform(40, seed, ends=True).sample(8))
        told.append(BAYESIAN(sample).explanation)
    assert told == [""] * 30


def test_credits_that_are_alike_but_for_rounding_are_left_so():
    game = UnanimitySum.random(6, (6, 6, 6), seed=0)
    pairs = complementary_pairs(play(game, Exhaustive().sample(6)), "test")
    taken = np.random.default_rng(0).normal(size=len(pairs.differences))
    for credits in (np.ones(6), 1 + 1e-16 * np.arange(6), 1 + 1e-15 * np.arange(6)):
        assert not spread(pairs, credits, np.eye(6), taken).is_off


@pytest.mark.parametrize("seed", [1, 3])
def test_without_all_single_contributors_credits_are_left_as_they_are(seed):
    """The few that are there by chance contradict these credits so much as to turn them around."""
    sample = play(few_decide(seed)[0], PairedUniform(400, seed, ends=False).sample(PLAYERS))
    assert BAYESIAN(sample).explanation == ""


def test_credits_are_not_turned_around(monkeypatch):
    game = UnanimitySum.random(8, (8, 8, 6), seed=0)
    sample = play(game, PairedUniform(40, 0, ends=True).sample(8))
    contrary = judging.Spread(share=-1.5, error=0.1, n_pairs=9.0, doubt=0.1)
    monkeypatch.setattr(bayesian, "spread", lambda *_: contrary)
    found = BAYESIAN(sample)
    equal = (found.v_full - found.v_empty) / 8
    np.testing.assert_allclose(found.credits, equal)
    assert (found.std_errors > 0).all()


def test_single_contributors_and_everybody_else_alone_contradict_nothing():
    game, _ = few_decide(0)
    sample = play(game, PairedUniform(2 * PLAYERS, 0, ends=True).sample(PLAYERS))
    pairs = complementary_pairs(sample, "test")
    nothing = np.zeros(len(pairs.differences))
    judged = spread(pairs, np.arange(PLAYERS, dtype=float), np.zeros((PLAYERS, PLAYERS)), nothing)
    assert judged.n_pairs == 0
    assert not judged.is_off


def test_noise_is_stretched_with_the_credits(monkeypatch):
    game, _ = few_decide(0)
    sample = play(game, PairedUniform(20 * PLAYERS, 0, ends=True).sample(PLAYERS), 1e-12, 100.0)
    found = BAYESIAN(sample)
    factor = float(found.explanation.split("want them ")[1].split(" times")[0])
    assert factor > 1.3
    monkeypatch.setattr(judging, "CONTRADICTED", np.inf)
    left = BAYESIAN(sample)
    np.testing.assert_allclose(found.noise_errors / left.noise_errors, factor, rtol=0.05)
    assert (found.std_errors > factor * left.std_errors).all()
