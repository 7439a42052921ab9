import numpy as np
import pytest
from scipy import stats

from crediting.agreement.rank_agreement import _spread
from crediting.agreement.spread import Spread, spread_of_mean

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1)])
def test_one_sample_gives_the_interval_of_student(shape):
    values = RANDOM.normal(size=shape)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values.ravel()))
    assert spread_of_mean(values).half_width == pytest.approx((high - low) / 2)


def test_one_value_tells_no_spread():
    found = spread_of_mean(np.ones((1, 1)))
    assert np.isnan([*found, found.half_width]).all()


def test_equal_values_are_sure():
    found = spread_of_mean(np.full((3, 4), 2.0))
    assert found.half_width == 0


def test_degrees_lie_between_those_of_the_two_samples():
    assert Spread.crossed(1.0, 10, 0.0, 3).degrees == 9
    assert Spread.crossed(0.0, 10, 1.0, 3).degrees == 2
    assert Spread.crossed(1.0, 10, 1.0, 3).degrees == pytest.approx(4 / (1 / 9 + 1 / 2))


@pytest.mark.parametrize("scales", [(1, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0.3, 3)])
def test_variance_of_a_mean_over_crossed_samples_is_neither_missed_nor_doubled(scales):
    random = np.random.default_rng(1)
    rows, columns, cells = scales
    shape = (2000, 12, 8)
    values = (
        rows * random.normal(size=(2000, 12, 1))
        + columns * random.normal(size=(2000, 1, 8))
        + cells * random.normal(size=shape)
    )
    truth = rows**2 / 12 + columns**2 / 8 + cells**2 / (12 * 8)
    told = np.mean([spread_of_mean(draw).std_error ** 2 for draw in values])
    assert told == pytest.approx(truth, rel=0.12)


def test_columns_that_rows_do_not_move_are_off_by_their_standard_error():
    """Seeds alone are luck where redrawing coalitions changes no correlation."""
    per_seed = np.array([0.2, 0.5, 0.7])
    found = _spread(per_seed, np.tile(per_seed, (50, 1)), n_rows=20, share=0.0)
    assert found.std_error == pytest.approx(stats.sem(per_seed))
    assert found.degrees == pytest.approx(2)


def resamples(covariance):
    """Return some whose covariance is exactly that."""
    rows = RANDOM.normal(size=(40, len(covariance)))
    rows -= rows.mean(axis=0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    return whitened @ np.linalg.cholesky(covariance).T


@pytest.mark.parametrize("share", [0.0, 0.25])
@pytest.mark.parametrize("per_seed", [[0.4, 0.4, 0.4], [0.2, 0.5, 0.8]])
@pytest.mark.parametrize("common", [0.01, 0.0, -0.01])
def test_what_coalitions_and_seeds_vary_counts_once(common, per_seed, share):
    """Each column varies by `common` with the others, by 0.05 with its own luck of cells."""
    found = _spread(
        np.array(per_seed), resamples(common + 0.05 * np.eye(3)), n_rows=20, share=share
    )
    rows = (1 - share) * max(common, 0.0) + 0.05 / 3
    columns = max(stats.sem(per_seed) ** 2 - 0.05 / 3, 0)  # of the seeds beyond that luck
    assert found.std_error == pytest.approx(np.sqrt(rows + columns))


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (4, 3)])
def test_luck_of_cells_is_told_apart_as_in_a_two_way_analysis_of_variance(shape):
    k, r = shape
    random = np.random.default_rng(0)
    values = random.normal(size=(k, 1)) + 3 * random.normal(size=r) + random.normal(size=shape)
    dummies = np.hstack([np.repeat(np.eye(k), r, axis=0), np.tile(np.eye(r), (k, 1))])
    fit = dummies @ np.linalg.lstsq(dummies, values.ravel())[0]
    luck = ((values.ravel() - fit) ** 2).sum() / ((k - 1) * (r - 1))
    columns = k * values.mean(axis=0).var(ddof=1)
    assert columns > luck
    expected = stats.sem(values.mean(axis=1)) ** 2 + (columns - luck) / (k * r)
    assert spread_of_mean(values).std_error == pytest.approx(np.sqrt(expected))
