import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score

from crediting.agreement import fidelity, verdict

RANDOM = np.random.default_rng(0)
BETTER = RANDOM.normal(size=50)
CHEAP = 3 + 0.5 * BETTER + 0.2 * RANDOM.normal(size=50)


def test_every_number_is_that_of_another_library():
    found = fidelity(CHEAP, BETTER, 500, 0)
    assert found.spearman == pytest.approx(stats.spearmanr(CHEAP, BETTER).statistic)
    assert found.pearson == pytest.approx(stats.pearsonr(CHEAP, BETTER).statistic)
    refit = LinearRegression().fit(CHEAP[:, None], BETTER)
    assert found.r2 == pytest.approx(refit.score(CHEAP[:, None], BETTER))
    assert found.r2_raw == pytest.approx(r2_score(BETTER, CHEAP))
    assert found.mean_absolute_error == pytest.approx(mean_absolute_error(BETTER, CHEAP))
    assert (
        found.r2_raw < 0 < found.spearman_low < found.spearman < found.spearman_high < found.r2**0
    )
    assert found.n == 50


def test_coalitions_that_lack_either_utility_are_left_out():
    cheap, better = CHEAP.copy(), BETTER.copy()
    cheap[0] = better[1] = np.nan
    assert fidelity(cheap, better, 50, 0) == fidelity(CHEAP[2:], BETTER[2:], 50, 0)


@pytest.mark.parametrize("cheap", [np.zeros(50), np.full(50, np.nan)])
def test_undefined_is_nan_and_told(cheap):
    found = fidelity(cheap, BETTER, 50, 0)
    assert np.isnan([found.spearman, found.spearman_low, found.pearson, found.r2]).all()
    assert "undefined" in verdict(found, 0.8)


def test_of_one_coalition_only_the_error_is_known():
    found = fidelity(CHEAP[:1], BETTER[:1], 50, 0)
    assert found.mean_absolute_error == abs(CHEAP[0] - BETTER[0])
    assert np.isnan([found.spearman, found.pearson, found.r2, found.r2_raw]).all()


def test_constant_better_utilities_explain_nothing():
    assert np.isnan(fidelity(BETTER, np.ones(50), 50, 0).r2_raw)


def test_vectors_of_different_length_are_refused():
    with pytest.raises(ValueError, match="equal length"):
        fidelity(CHEAP, BETTER[1:], 50, 0)


def test_verdict_warns_below_the_threshold_and_where_it_cannot_be_told():
    good = fidelity(CHEAP, BETTER, 500, 0)
    low, high = good.spearman_low, good.spearman_high
    assert verdict(good, low - 0.01) is None
    assert "do not trust" in verdict(good, high + 0.01)
    for within in (low + 0.01, high - 0.01):
        assert "too few coalitions to tell" in verdict(good, within)
    few = fidelity(CHEAP[:3], BETTER[:3], 50, 0)
    assert "too few coalitions to tell" in verdict(few, 0.1)
    assert "nan" not in verdict(few, 0.1)


def test_the_seed_decides_the_interval_and_nothing_else():
    one, again, other = (fidelity(CHEAP, BETTER, 50, seed) for seed in (1, 1, 2))
    assert one == again
    assert one.spearman_low != other.spearman_low
    assert one.spearman_high != other.spearman_high
    assert one.spearman == other.spearman


def test_an_interval_that_begins_at_the_threshold_will_do():
    found = fidelity(CHEAP, BETTER, 50, 0)
    assert verdict(found, found.spearman_low) is None
    assert "too few" in verdict(found, found.spearman_high)
