from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from crediting.game.attribution import Attribution


def attribution(credits, draws=None):
    """Return one whose draws are those given, or 200 around the credits."""
    credits = np.asarray(credits, dtype=float)
    if draws is None:
        scale = np.ptp(credits) / 5
        draws = credits + scale * np.random.default_rng(0).normal(size=(200, len(credits)))
    return Attribution(
        credits=credits,
        std_errors=np.full_like(credits, 0.1),
        ci_low=credits - 0.2,
        ci_high=credits + 0.2,
        noise_errors=np.full_like(credits, np.nan),
        draws=np.asarray(draws),
        confidence=0.95,
        v_empty=0.0,
        v_full=float(credits.sum()),
        estimator="test",
        n_coalitions=10,
        explanation="",
    )


@pytest.mark.parametrize("unit", [1.0, -1.0, 1e-6, -1e6])
def test_shares_are_parts_of_the_whole_also_where_lower_is_better(unit):
    """Credits for FID sum to less than 0: v(N) is far below v(empty)."""
    found = attribution(unit * np.array([3.0, 2.0, -1.0])).shares
    np.testing.assert_allclose(found, [0.75, 0.5, -0.25])


def test_of_a_sum_that_only_rounding_keeps_from_zero_nobody_has_a_share():
    credits = [0.1, 0.2, -0.3]
    assert sum(credits) > 0
    assert np.isnan(attribution(credits).shares).all()


def test_rank_stability_is_the_mean_of_spearmans_correlations():
    found = attribution([4.0, 1.0, 3.0, 2.5, -1.0])
    each = [spearmanr(draw, found.credits).statistic for draw in found.draws]
    assert found.rank_stability() == pytest.approx(np.mean(each))
    assert 0.5 < found.rank_stability() < 0.95
    backwards = replace(found, draws=-found.credits[None])
    assert backwards.rank_stability() == pytest.approx(-1)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_probabilities_of_ranks_do_not_depend_on_the_unit(unit, higher_is_better):
    plain = attribution(-np.array([4.0, 1.0, 3.0, 2.5, 1.01]))
    scaled = replace(plain, credits=unit * plain.credits, draws=unit * plain.draws)
    np.testing.assert_array_equal(
        scaled.rank_probabilities(higher_is_better), plain.rank_probabilities(higher_is_better)
    )
    certain = replace(scaled, draws=scaled.credits[None]).rank_probabilities(higher_is_better)
    assert set(np.unique(certain)) == {0.0, 1.0}


def test_without_draws_nothing_is_known_of_ranks():
    unknown = attribution([3.0, 2.0, 1.0], draws=np.empty((0, 3)))
    assert np.isnan(unknown.rank_probabilities()).all()
    assert unknown.rank_probabilities().shape == (3, 3)
    assert np.isnan(unknown.top_probabilities(1)).all()
    assert np.isnan(unknown.rank_stability())


def test_contributors_who_tie_for_certain_may_have_any_of_their_ranks():
    found = attribution([2.0, 2.0, 1.0], draws=[[2.0, 2.0, 1.0]])
    half = pytest.approx(0.5, abs=0.03)
    assert found.rank_probabilities().tolist() == [[half, half, 0], [half, half, 0], [0, 0, 1]]
    assert found.top_probabilities(2).tolist() == [1, 1, 0]
    assert found.top_probabilities(2, higher_is_better=False).tolist() == [half, half, 1]
