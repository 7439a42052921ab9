from dataclasses import replace

import numpy as np
import pytest
from samples import rows_of
from scipy.stats import norm

from crediting import design
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import LeaveOneOut
from crediting.game.game import play
from crediting.game.toy import Additive, Airport, Gloves, NoisyGame

ESTIMATOR = LeaveOneOut(confidence=0.9)
PAIRS = design.PairedUniform(6, 0, ends=True)


@pytest.mark.parametrize("designer", [design.LeaveOneOut(), design.Exhaustive(), PAIRS], ids=repr)
@pytest.mark.parametrize(
    ("game", "losses"),
    [
        (Additive((1.0, -2.0, 0.5)), [1.0, -2.0, 0.5]),
        (Gloves(1, 2), [1.0, 0.0, 0.0]),
        (Airport((1.0, 7.0, 4.0)), [0.0, 3.0, 0.0]),
    ],
    ids=repr,
)
def test_credits_are_what_the_grand_coalition_loses(designer, game, losses):
    sample = play(game, designer.sample(3))
    order = np.random.default_rng(0).permutation(len(sample))
    for attribution in (ESTIMATOR(sample), ESTIMATOR(rows_of(sample, order))):
        np.testing.assert_allclose(attribution.credits, losses, rtol=0, atol=1e-12)


def test_uncertainty_is_unknown_unless_noise_was_measured():
    attribution = ESTIMATOR(play(Gloves(1, 2), design.LeaveOneOut().sample(3)))
    for field in ("std_errors", "ci_low", "ci_high", "confidence", "noise_errors"):
        assert np.isnan(getattr(attribution, field)).all()
    assert attribution.estimator == "leave_one_out"
    assert attribution.n_coalitions == 3 == ESTIMATOR.minimum_coalitions(3)


def test_measured_noise_is_that_of_a_difference():
    game = Additive((0.0, 1.0, 2.0, 5.0))
    attribution = ESTIMATOR(play(game, design.LeaveOneOut().sample(4), noise_variance=0.25))
    np.testing.assert_allclose(attribution.std_errors, np.sqrt(2) * 0.5, rtol=1e-12)
    np.testing.assert_allclose(attribution.noise_errors, np.sqrt(2) * 0.5, rtol=1e-12)
    reach = norm.ppf(0.95) * np.sqrt(2) * 0.5
    np.testing.assert_allclose(attribution.ci_low, game.shapley_values - reach, rtol=1e-12)
    assert attribution.confidence == 0.9


def test_the_noise_of_the_grand_coalition_changes_no_rank():
    """Who of two is ahead depends on the noise of their own coalitions only, sqrt(2) 0.5 apart."""
    game = Additive((0.0, 0.6))
    attribution = ESTIMATOR(play(game, design.LeaveOneOut().sample(2), noise_variance=0.25))
    ahead = attribution.rank_probabilities()[1, 0]
    assert ahead == pytest.approx(norm.cdf(0.6 / (np.sqrt(2) * 0.5)), abs=0.03)


def test_intervals_cover_what_noise_hides():
    game = Airport((1.0, 7.0, 4.0, 2.0))
    losses = np.array([0.0, 3.0, 0.0, 0.0])
    covered = []
    for seed in range(300):
        noisy = NoisyGame(game, 0.5, seed)
        found = ESTIMATOR(play(noisy, design.LeaveOneOut().sample(4), noise_variance=0.25))
        covered.append((found.ci_low <= losses) & (losses <= found.ci_high))
    assert 0.86 < np.mean(covered) < 0.94


def test_efficiency_gap_shows_what_is_not_handed_out():
    attribution = ESTIMATOR(play(Airport((1.0, 7.0, 4.0)), design.LeaveOneOut().sample(3)))
    assert attribution.efficiency_gap == pytest.approx(4.0)


def test_repeated_coalitions_count_by_their_mean():
    sample = rows_of(play(Gloves(1, 2), design.LeaveOneOut().sample(3)), [0, 1, 2, 2])
    noisy = replace(sample, utilities=sample.utilities + np.array([0, 0, 0.5, -0.5]))
    np.testing.assert_allclose(ESTIMATOR(noisy).credits, [1, 0, 0], rtol=0, atol=1e-12)


def test_missing_coalitions_are_named_with_the_designs_that_have_them():
    sample = play(Additive((1.0,) * 5), design.LeaveOneOut().sample(5))
    with pytest.raises(LedgerError) as failure:
        ESTIMATOR(rows_of(sample, [3, 0, 2]))
    missing = "2 of them are missing, for instance everybody but contributor number 2, 5;"
    assert f"design=leave_one_out, {missing}" in str(failure.value)
    assert "design=paired_uniform design.ends=true and a design.budget of at least 15." in str(
        failure.value
    )


@pytest.mark.parametrize("n_players", [2, 3, 20])
def test_pairs_with_ends_hold_them_all_from_three_times_the_contributors_on(n_players):
    game = Additive(tuple(np.linspace(-1, 1, n_players)))
    pairs = design.PairedUniform(3 * n_players, 0, ends=True)
    found = ESTIMATOR(play(game, pairs.sample(n_players)))
    np.testing.assert_allclose(found.credits, game.shapley_values, rtol=0, atol=1e-12)


def test_a_message_about_a_thousand_missing_coalitions_is_short():
    sample = play(Additive((1.0,) * 100), design.AddOneIn().sample(100))
    with pytest.raises(LedgerError, match="100 of them are missing") as failure:
        ESTIMATOR(sample)
    assert len(str(failure.value)) < 500


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(ConfigError, match=rf"estimator\.confidence: .* got {confidence}; "):
        LeaveOneOut(confidence)
