import numpy as np
import pytest
from scipy import stats

from crediting.agreement import bootstrap_interval, mean_absolute_error, pearson, spearman

RANDOM = np.random.default_rng(0)
FIRST = RANDOM.normal(size=40)
SECOND = FIRST + RANDOM.normal(size=40)
TIED = np.round(SECOND)


@pytest.mark.parametrize("second", [SECOND, TIED, -SECOND, FIRST])
def test_correlations_agree_with_scipy(second):
    assert pearson(FIRST, second) == pytest.approx(stats.pearsonr(FIRST, second).statistic)
    assert spearman(FIRST, second) == pytest.approx(stats.spearmanr(FIRST, second).statistic)


def test_rank_correlation_sees_order_only():
    assert spearman(FIRST, np.exp(5 * FIRST)) == pytest.approx(1)
    assert pearson(FIRST, np.exp(5 * FIRST)) < 0.9


@pytest.mark.parametrize("correlation", [pearson, spearman])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 / 3])
def test_constant_input_is_undefined_without_a_warning(correlation, constant):
    flat = np.full(40, constant)
    assert np.isnan(correlation(FIRST, flat))
    assert np.isnan(correlation(flat, FIRST))
    assert np.isnan(bootstrap_interval(correlation, flat, FIRST, 0.9, 20, 0)).all()


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_fewer_than_two_entries_are_undefined(correlation):
    assert np.isnan(correlation(FIRST[:1], SECOND[:1]))
    assert np.isnan(correlation(FIRST[:0], SECOND[:0]))


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_what_is_unknown_has_no_correlation(correlation):
    unknown = np.where(np.arange(40) == 7, np.nan, SECOND)
    assert np.isnan(correlation(FIRST, unknown))
    assert np.isnan(correlation(unknown, FIRST))


def test_mean_absolute_error():
    assert mean_absolute_error(np.array([1.0, 2.0, 4.0]), np.array([2.0, 0.0, 4.0])) == 1.0


@pytest.mark.parametrize("measure", [pearson, spearman, mean_absolute_error])
def test_vectors_of_different_length_are_refused(measure):
    with pytest.raises(ValueError, match="two vectors of equal length"):
        measure(FIRST, SECOND[:-1])


def test_interval_agrees_with_the_normal_theory_of_fisher():
    random = np.random.default_rng(1)
    first = random.normal(size=400)
    second = 0.6 * first + 0.8 * random.normal(size=400)
    low, high = bootstrap_interval(pearson, first, second, 0.95, 1000, seed=0)
    theory = stats.pearsonr(first, second).confidence_interval(0.95)
    assert low == pytest.approx(theory.low, abs=0.025)
    assert high == pytest.approx(theory.high, abs=0.025)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_interval_is_the_percentile_one_of_scipy(confidence):
    def statistic(first, second):
        return stats.spearmanr(first, second).statistic

    found = bootstrap_interval(spearman, FIRST, SECOND, confidence, 2000, seed=0)
    reference = stats.bootstrap(
        (FIRST, SECOND),
        statistic,
        paired=True,
        vectorized=False,
        confidence_level=confidence,
        n_resamples=2000,
        method="percentile",
        random_state=1,
    ).confidence_interval
    np.testing.assert_allclose(found, reference, rtol=0, atol=0.04)


def test_interval_is_decided_by_its_seed_and_widened_by_confidence():
    first, again, other = (
        bootstrap_interval(spearman, FIRST, SECOND, 0.8, 100, seed) for seed in (0, 0, 1)
    )
    wide = bootstrap_interval(spearman, FIRST, SECOND, 0.99, 100, seed=0)
    assert first == again != other
    assert wide[0] < first[0] < first[1] < wide[1]


def test_undefined_resamples_are_dropped():
    # A third of the resamples of these pairs is constant in one vector.
    low, high = bootstrap_interval(
        pearson, np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.5, 1.0]), 0.95, 200, seed=0
    )
    assert -1 <= low <= high <= 1
