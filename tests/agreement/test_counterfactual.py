import numpy as np
import pytest
from scipy import stats

from crediting.agreement import against_random, kept, relative_change, removed

FULL = np.array([10.0, 20.0, 40.0])
LESS = np.array([9.0, 17.0, 38.0])
CHANGES = np.array([-10.0, -15.0, -5.0])


# ------------------------------------------------------------------------------ coalitions


def test_the_top_goes_or_stays_by_the_direction_of_the_property():
    credits = np.array([0.1, 0.9, -0.5, 0.4])
    assert removed(credits, 0.5, True).tolist() == [True, False, True, False]
    assert removed(credits, 0.5, False).tolist() == [False, True, False, True]
    assert kept(credits, 0.5, True).tolist() == [False, True, False, True]
    assert kept(credits, 0.25, False).tolist() == [False, False, True, False]


def test_numbers_are_rounded_as_in_the_paper():
    credits = np.arange(258.0)
    assert (~removed(credits, 0.4, True)).sum() == 103
    assert (~kept(credits, 0.6, True)).sum() == 103
    assert (~removed(credits[:7], 0.25, True)).sum() == 1  # of 1.75
    assert (~kept(credits[:7], 0.75, True)).sum() == 1
    assert (~removed(credits[:30], 0.33333, True)).sum() == 9  # of 9.9999


@pytest.mark.parametrize("n", [10, 20, 50, 100])
@pytest.mark.parametrize("tenths", range(1, 10))
def test_whole_numbers_survive_binary_fractions(n, tenths):
    credits = np.arange(float(n))
    assert (~removed(credits, tenths / 10, True)).sum() == n * tenths // 10
    assert kept(credits, tenths / 10, True).sum() == n * tenths // 10


def test_at_least_one_contributor_is_removed():
    credits = np.arange(5.0)
    assert removed(credits, 0.05, True).tolist() == [True, True, True, True, False]
    assert kept(credits, 0.95, True).tolist() == [False, True, True, True, True]


def test_equal_credits_rank_in_player_order():
    credits = np.zeros(4)
    for higher_is_better in (True, False):
        assert removed(credits, 0.5, higher_is_better).tolist() == [False, False, True, True]
        assert kept(credits, 0.5, higher_is_better).tolist() == [True, True, False, False]


def test_many_contributors_with_few_different_credits_rank_in_player_order():
    credits = np.random.default_rng(0).integers(0, 3, 300).astype(float)
    ranked = sorted(range(300), key=lambda player: (-credits[player], player))
    assert np.flatnonzero(~removed(credits, 0.5, True)).tolist() == sorted(ranked[:150])


@pytest.mark.parametrize("choose", [kept, removed])
def test_what_cannot_be_ranked_or_shared_is_refused(choose):
    for share in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            choose(np.arange(3.0), share, True)
    with pytest.raises(ValueError, match="without a credit"):
        choose(np.array([1.0, np.nan]), 0.5, True)


# ------------------------------------------------------------------------------ changes


def test_change_is_paired_by_seed_with_the_interval_of_student():
    found = relative_change(LESS, FULL)
    assert found.per_seed == pytest.approx(CHANGES)
    assert found.mean == pytest.approx(-10)
    low, high = stats.t.interval(0.95, 2, -10, stats.sem(CHANGES))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_rise_is_positive_also_for_negative_properties():
    assert relative_change(np.array([-9.0]), np.array([-10.0])).mean == pytest.approx(10)


def test_one_seed_tells_no_interval():
    found = relative_change(LESS[:1], FULL[:1])
    assert found.mean == pytest.approx(-10)
    assert np.isnan([found.low, found.high]).all()


def test_missing_seeds_and_worthless_full_models_are_left_out_and_told():
    found = relative_change(np.array([9.0, np.nan, 38.0, 1.0]), np.array([10.0, 20.0, 40.0, 0.0]))
    assert found.mean == pytest.approx(-7.5)
    assert np.isnan(found.per_seed).tolist() == [False, True, False, True]
    nothing = relative_change(np.array([np.nan]), np.array([1.0]))
    assert np.isnan([nothing.mean, *nothing.per_seed, nothing.low, nothing.high]).all()


def test_random_coalitions_and_seeds_both_widen_the_interval():
    random = np.random.default_rng(0)
    full = 10 + random.normal(size=3)
    by_coalition = full + random.normal(size=(6, 1)) + 0.01 * random.normal(size=(6, 3))
    found = relative_change(by_coalition, full)
    changes = 100 * (by_coalition / full - 1)
    assert found.per_seed == pytest.approx(changes.mean(axis=0))
    assert found.mean == pytest.approx(changes.mean())
    # Where seeds hardly differ, this is the interval over coalitions.
    low, high = stats.t.interval(0.95, 5, changes.mean(), stats.sem(changes.mean(axis=1)))
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.1)
    assert found.high - found.low > 3 * np.ptp(relative_change(by_coalition[0], full)[2:])


def test_random_coalitions_of_one_seed_vary_by_coalition():
    random = np.array([[9.0], [8.0], [7.0]])
    found = relative_change(random, np.array([10.0]))
    low, high = stats.t.interval(0.95, 2, -20, stats.sem([-10, -20, -30]))
    assert (found.mean, found.low, found.high) == pytest.approx((-20, low, high))


def test_against_random_is_the_difference_of_changes_by_seed():
    random = np.array([[10.0, 19.0, 40.0], [9.5, 20.0, 41.0]])
    found = against_random(LESS, random, FULL)
    expected = CHANGES - (100 * (random / FULL - 1)).mean(axis=0)
    assert found.per_seed == pytest.approx(expected)
    assert found.mean == pytest.approx(expected.mean())
    assert found.low < found.mean < found.high


def test_against_random_is_as_unsure_as_random_coalitions_are_unlike():
    generator = np.random.default_rng(0)
    full = np.array([10.0, 20.0, 40.0])
    random = full * (1 - generator.normal(0.1, 0.05, size=(6, 1)))
    random *= 1 + 1e-4 * generator.normal(size=(6, 3))
    found = against_random(0.8 * full, random, full)
    by_coalition = -20 - 100 * (random / full - 1).mean(axis=1)
    # Where seeds hardly differ, this is the interval over coalitions.
    low, high = stats.t.interval(0.95, 5, by_coalition.mean(), stats.sem(by_coalition))
    assert (found.mean, found.low, found.high) == pytest.approx(
        (by_coalition.mean(), low, high), rel=0.01
    )


def test_of_one_seed_nothing_is_known_of_its_luck_against_random():
    random = np.array([[10.0, np.nan, 40.0], [9.5, 20.0, np.nan]])
    found = against_random(LESS, random, FULL)
    assert np.isfinite(found.mean)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("utilities", [LESS[:2], np.ones((2, 2)), np.ones((1, 1, 3))])
def test_seeds_that_do_not_match_are_refused(utilities):
    with pytest.raises(ValueError, match="of 3 seeds"):
        relative_change(utilities, FULL)


def test_a_seed_that_one_of_many_coalitions_lacks_is_left_out_of_the_mean():
    random = np.array([[9.0, 10.0], [7.0, np.nan]])
    found = relative_change(random, np.array([10.0, 20.0]))
    assert found.mean == pytest.approx((-10 - 30) / 2)  # not also the -50 of the other seed
    assert np.isnan(found.per_seed).tolist() == [False, True]
