from math import asin, pi

import numpy as np
import pytest
from scipy import stats

from crediting.agreement import datamodel_score, difference
from crediting.agreement.rank_agreement import rank_agreement, resampled_spearman

N, M, R = 12, 60, 3


def coalitions_of_half(m=M, seed=0):
    order = np.random.default_rng(seed).random((m, N)).argsort(axis=1)
    return order < N // 2


CREDITS = np.random.default_rng(1).normal(size=N)
COALITIONS = coalitions_of_half()
UTILITIES = (COALITIONS @ CREDITS)[:, None] + np.random.default_rng(2).normal(size=(M, R))


def scored(credits=CREDITS, coalitions=COALITIONS, utilities=UTILITIES, seed=0):
    return datamodel_score(credits, coalitions, utilities, 200, seed)


# ------------------------------------------------------------------------------ the score


def test_score_is_the_mean_spearman_of_scipy_in_percent():
    found = scored()
    expected = [
        100 * stats.spearmanr(COALITIONS @ CREDITS, UTILITIES[:, s]).statistic for s in range(R)
    ]
    assert found.per_seed == pytest.approx(expected)
    assert found.score == pytest.approx(np.mean(expected))
    assert found.n_coalitions == M
    assert found.low < found.score < found.high


def test_paper_interval_is_over_seeds_with_the_standard_deviation_of_a_population():
    found = scored()
    assert found.paper_half_width == pytest.approx(
        1.96 * np.sqrt(((found.per_seed - found.score) ** 2).mean()) / np.sqrt(R)
    )
    assert np.isnan(scored(utilities=UTILITIES[:, :1]).paper_half_width)


def test_score_ignores_shift_and_positive_scale_of_credits_and_monotone_utilities():
    expected = scored()
    for same in (scored(credits=3 * CREDITS + 7), scored(utilities=np.exp(UTILITIES))):
        assert same.score == pytest.approx(expected.score)
        assert same.low == pytest.approx(expected.low)
    assert scored(credits=-CREDITS).score == pytest.approx(-expected.score)


def test_a_coalition_counts_only_with_all_its_seeds():
    patchy = UTILITIES.copy()
    patchy[3, 1] = patchy[7, 2] = np.nan
    kept = np.delete(np.arange(M), [3, 7])
    found, expected = scored(utilities=patchy), scored(CREDITS, COALITIONS[kept], UTILITIES[kept])
    assert found.n_coalitions == M - 2
    assert found.score == expected.score
    assert (found.low, found.high) == (expected.low, expected.high)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3])
def test_constant_credits_have_no_score_whatever_the_rounding_of_their_sums(value):
    found = scored(credits=np.full(N, value))
    assert np.isnan([found.score, *found.per_seed, found.low, found.high]).all()


def test_small_differences_of_large_credits_count():
    found = scored(credits=CREDITS + 1e5)
    assert found.per_seed == pytest.approx(scored().per_seed, abs=1e-9)


def test_constant_utilities_of_one_seed_or_no_complete_coalition_leave_no_score():
    flat, missing = UTILITIES.copy(), UTILITIES.copy()
    flat[:, 1] = 2.0
    missing[:, 1] = np.nan
    assert np.isnan(scored(utilities=flat).score)
    assert np.isnan(scored(utilities=missing).score)
    assert scored(utilities=missing).n_coalitions == 0
    nothing = scored(coalitions=COALITIONS[:0], utilities=UTILITIES[:0])
    assert nothing.n_coalitions == 0
    assert np.isnan([nothing.score, nothing.low, nothing.high]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"credits": CREDITS[:-1]}, "do not fit"),
        ({"credits": np.full(N, np.nan)}, "finite credits"),
        ({"utilities": UTILITIES[:-1]}, "expected utilities"),
        ({"utilities": UTILITIES[:, :0]}, "at least one seed"),
        ({"coalitions": COALITIONS | np.eye(M, N, dtype=bool)}, "of one size"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        scored(**change)


# ------------------------------------------------------------------------------ the interval


def test_resampled_correlations_are_those_of_resampled_vectors():
    first, second = np.round(UTILITIES[:, 0]), UTILITIES[:, 1:]
    found = resampled_spearman(first, second, 20, seed=5)
    counts = np.random.default_rng(5).multinomial(M, np.full(M, 1 / M), 20)
    for row, count in zip(found, counts, strict=True):
        drawn = np.repeat(np.arange(M), count)
        expected = [stats.spearmanr(first[drawn], column[drawn]).statistic for column in second.T]
        assert row == pytest.approx(expected)


def test_resampling_in_batches_changes_nothing(monkeypatch):
    whole = resampled_spearman(CREDITS, CREDITS[:, None] ** 2, 30, 0)
    monkeypatch.setattr("crediting.agreement.rank_agreement.MOST_CELLS", 7 * N)
    np.testing.assert_array_equal(resampled_spearman(CREDITS, CREDITS[:, None] ** 2, 30, 0), whole)


def test_interval_is_decided_by_its_seed():
    assert scored(seed=1)[3:] == scored(seed=1)[3:] != scored(seed=2)[3:]


def test_interval_of_one_seed_is_that_of_bonett_and_wright():
    random = np.random.default_rng(0)
    first = random.normal(size=2000)
    second = 0.5 * first + np.sqrt(0.75) * random.normal(size=2000)
    found = rank_agreement(first, second[:, None], 2000, 0)
    half_width = 1.96 * np.sqrt((1 + found.mean**2 / 2) / (2000 - 3))
    theory = np.tanh(np.arctanh(found.mean) + np.array([-half_width, half_width]))
    assert [found.low, found.high] == pytest.approx(theory, abs=0.004)


def test_perfect_agreement_is_less_sure_the_fewer_the_coalitions():
    lows = []
    for m in (4, 10, 40):
        order = np.arange(float(m))
        found = rank_agreement(order, np.stack([order, order], axis=1), 100, 0)
        assert (found.mean, found.high) == pytest.approx((1, 1))
        reverse = rank_agreement(-order, order[:, None], 100, 0)
        assert (reverse.mean, reverse.low) == pytest.approx((-1, -1))
        lows.append(found.low)
    assert lows[0] < 0.1 < 0.8 < lows[1] < 0.99 < lows[2] < 1


def test_three_coalitions_tell_no_interval():
    found = rank_agreement(np.arange(3.0), np.arange(3.0)[:, None], 100, 0)
    assert found.mean == pytest.approx(1)
    assert np.isnan([found.low, found.high]).all()


def test_resamples_in_which_one_seed_is_constant_are_left_out():
    order = np.arange(6.0)
    second = np.stack([order[[1, 0, 2, 4, 3, 5]], np.array([0.0, 0, 0, 0, 0, 1])], axis=1)
    constant = np.isnan(resampled_spearman(order, second, 200, 0))
    assert constant[:, 1].any()
    assert not constant[:, 1].all()
    found = rank_agreement(order, second, 200, 0)
    assert found.low < found.mean < found.high


def expected_spearman(rho, m):
    """Moran, "Rank correlation and product-moment correlation", 1948: of m normal pairs."""
    return 6 / (pi * (m + 1)) * (asin(rho) + (m - 2) * asin(rho / 2))


def normal_agreement(generator, m, slopes, shared):
    """Return the agreement of normals whose correlation with column s is slopes[s].

    The share `shared` of the remaining variance is common to all columns.
    """
    first = generator.normal(size=m)
    common, own = generator.normal(size=m), generator.normal(size=(m, len(slopes)))
    luck = np.sqrt(shared) * common[:, None] + np.sqrt(1 - shared) * own
    second = slopes * first[:, None] + np.sqrt(1 - slopes**2) * luck
    return rank_agreement(first, second, 150, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("m", "r", "rho", "shared"),
    [(100, 3, 0.6, 0.5), (100, 3, 0.2, 0.0), (40, 3, 0.85, 0.9), (60, 1, 0.6, 0.0)],
)
def test_interval_covers_the_known_expectation_as_often_as_it_says(m, r, rho, shared):
    generator = np.random.default_rng(m + r)
    truth = expected_spearman(rho, m)
    found = [normal_agreement(generator, m, np.full(r, rho), shared) for _ in range(400)]
    covered = np.mean([low <= truth <= high for _, _, low, high in found])
    # Four standard errors of 400 draws below 95 %; not so wide that it would always cover.
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400) < covered < 0.995


@pytest.mark.slow
def test_interval_covers_seeds_that_differ_where_an_interval_over_coalitions_fails():
    generator = np.random.default_rng(0)
    truth = np.mean([expected_spearman(rho, 100) for rho in np.linspace(0.1, 0.9, 2001)])
    covered, narrow = [], []
    for _ in range(300):
        slopes = generator.uniform(0.1, 0.9, size=4)
        found = normal_agreement(generator, 100, slopes, 0.5)
        covered.append(found.low <= truth <= found.high)
        one = normal_agreement(generator, 100, slopes[:1], 0.5)
        narrow.append(one.low <= truth <= one.high)
    assert np.mean(covered) > 0.9
    assert np.mean(narrow) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.4, 1.0])
def test_interval_allows_for_the_share_of_all_coalitions_that_was_trained(share):
    generator = np.random.default_rng(0)
    predicted = generator.normal(size=50)
    common = predicted + generator.normal(size=50)  # what all seeds make of each coalition

    def trained(rows, seeds):
        return common[rows, None] + 0.7 * generator.normal(size=(len(rows), seeds))

    everything = np.arange(50)
    truth = np.mean([stats.spearmanr(predicted, c).statistic for c in trained(everything, 4000).T])
    covered, widths = [], {0.0: 0.0, share: 0.0}
    for _ in range(400):
        rows = generator.permutation(50)[: round(50 * share)]
        utilities = trained(rows, 3)
        for known in widths:
            found = rank_agreement(predicted[rows], utilities, 150, 0, known)
            widths[known] += found.high - found.low
        covered.append(found.low <= truth <= found.high)
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400) < np.mean(covered) < 0.995
    assert widths[share] < {0.4: 0.9, 1.0: 0.6}[share] * widths[0.0]


def test_all_coalitions_and_no_luck_leave_nothing_unsure():
    coalitions = np.array([row for row in np.ndindex(*[2] * 5) if sum(row) == 2], dtype=bool)
    utilities = np.random.default_rng(1).normal(size=10)
    credits = np.arange(5.0)
    known = datamodel_score(credits, coalitions, np.stack([utilities] * 2, axis=1), 200, 0)
    assert (known.low, known.high) == pytest.approx((known.score, known.score))
    fewer = datamodel_score(credits, coalitions[:9], np.stack([utilities[:9]] * 2, axis=1), 200, 0)
    single = datamodel_score(credits, coalitions, utilities[:, None], 200, 0)
    assert 10 < fewer.high - fewer.low < 0.5 * (single.high - single.low)


# ------------------------------------------------------------------------------ differences


def test_difference_is_that_of_the_scores_and_turns_round():
    other = CREDITS + np.random.default_rng(3).normal(size=N)
    found = difference(CREDITS, other, COALITIONS, UTILITIES, 200, 0)
    assert found.difference == pytest.approx(scored().score - scored(other).score)
    assert found.low < found.difference < found.high
    turned = difference(other, CREDITS, COALITIONS, UTILITIES, 200, 0)
    assert turned == pytest.approx((-found.difference, -found.high, -found.low))


def test_pairing_narrows_the_interval_of_credits_that_are_alike():
    other = CREDITS + 0.1 * np.random.default_rng(3).normal(size=N)
    paired = difference(CREDITS, other, COALITIONS, UTILITIES, 500, 0)
    single = scored()
    assert paired.high - paired.low < 0.6 * (single.high - single.low)


def test_the_interval_follows_the_truth():
    noise = np.random.default_rng(4).normal(size=N)
    found = difference(CREDITS, noise, COALITIONS, UTILITIES, 200, 0)
    assert found.low > 0


def test_between_two_perfect_rankings_nothing_is_sure():
    """No resample varies them, though few other coalitions would."""
    rows = np.eye(5, dtype=bool)
    credits = np.arange(5.0)
    found = difference(credits, -credits, rows[:4], rows[:4] @ credits[:, None], 200, 0)
    assert found.difference == pytest.approx(200)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("seed", range(5))
def test_nor_is_it_where_sums_are_off_in_the_last_bit(seed):
    """Perfect correlations come out a bit below 1, by as many bits as the resample pleases."""
    generator = np.random.default_rng(seed)
    rows = np.array([row for row in np.ndindex(*[2] * 6) if sum(row) == 3], dtype=bool)
    rows = generator.permutation(rows)[:19]
    credits = generator.normal(size=6)
    utilities = np.repeat(rows @ credits[:, None], 3, axis=1)
    found = difference(credits, -credits, rows, utilities, 300, seed)
    assert found.difference == pytest.approx(200)
    assert np.isnan([found.low, found.high]).all()


def test_credits_that_hardly_differ_have_an_interval_and_three_coalitions_do_not():
    other = CREDITS + 0.01 * np.random.default_rng(3).normal(size=N)
    near = difference(CREDITS, other, COALITIONS, UTILITIES, 500, 0)
    assert 0 < near.high - near.low < 2
    few = difference(CREDITS, -CREDITS, COALITIONS[:3], UTILITIES[:3], 500, 0)
    assert np.isfinite(few.difference)
    assert np.isnan(few[1:]).all()


def test_equal_rankings_do_not_differ_and_undefined_ones_cannot():
    same = difference(CREDITS, 2 * CREDITS, COALITIONS, UTILITIES, 50, 0)
    assert same == (0, 0, 0)
    undefined = difference(CREDITS, np.zeros(N), COALITIONS, UTILITIES, 50, 0)
    assert np.isnan(undefined).all()


@pytest.mark.slow
def test_interval_of_the_difference_covers_a_known_one():
    generator = np.random.default_rng(7)
    near, far = CREDITS + generator.normal(size=(2, N)) * np.array([[0.4], [1.2]])

    def game(m):
        coalitions = generator.random((m, N)).argsort(axis=1) < N // 2
        return coalitions, (coalitions @ CREDITS)[:, None] + generator.normal(size=(m, R))

    coalitions, utilities = game(50_000)
    truth = 100 * np.mean(
        [
            stats.spearmanr(coalitions @ near, u).statistic
            - stats.spearmanr(coalitions @ far, u).statistic
            for u in utilities.T
        ]
    )
    found = [difference(near, far, *game(50), 150, 0) for _ in range(300)]
    covered = np.mean([low <= truth <= high for _, low, high in found])
    assert 0.9 < covered < 0.995


def test_all_coalitions_and_no_luck_leave_no_difference_unsure():
    coalitions = np.array([row for row in np.ndindex(*[2] * 6) if sum(row) == 2], dtype=bool)
    utilities = np.stack([np.random.default_rng(1).normal(size=15)] * 2, axis=1)
    known = difference(np.arange(6.0), np.arange(6.0) ** 3 % 4, coalitions, utilities, 200, 0)
    assert abs(known.difference) > 1
    assert (known.low, known.high) == pytest.approx((known.difference, known.difference))


def test_differences_end_where_correlations_do_on_either_side():
    """By no more than 200 points can one be the better, however few coalitions tell."""
    rows = np.eye(5, dtype=bool)[:4]
    utilities = np.random.default_rng(1).normal(size=(4, 2))
    one, other = np.arange(5.0), np.array([2.0, 0.0, 3.0, 1.0, 0.0])
    found = difference(one, other, rows, utilities, 200, 0)
    turned = difference(other, one, rows, utilities, 200, 0)
    assert found.low == -200
    assert turned.high == 200
    assert (turned.low, turned.difference) == pytest.approx((-found.high, -found.difference))


@pytest.mark.parametrize("m", [4, 9, 30])
def test_perfect_agreement_is_taken_for_one_swap_of_neighbours(m):
    order = np.arange(float(m))
    swapped = order.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    almost = stats.spearmanr(order, swapped).statistic
    # Bonett & Wright (2000): Fisher's z varies by (1 + rho^2 / 2) / (m - 3), at rho = 1
    half_width = stats.t.ppf(0.975, m - 1) * np.sqrt(1.5 / (m - 3))
    found = rank_agreement(order, order[:, None], 100, 0)
    assert found.low == pytest.approx(np.tanh(np.arctanh(almost) - half_width))
    assert found.high == pytest.approx(1)
