import csv
from dataclasses import replace

import numpy as np
import pytest

from crediting.reporting.grid import Estimate, grid_csv, grid_markdown
from crediting.reporting.payout import Fund, payout_grid

NAMES = ["ann", "bob", "cem"]


def test_money_is_proportional_to_good_credits(exactly):
    fund = Fund(100, exactly([3.0, 1.0, -2.0], 0.0, 2.0), higher_is_better=True)
    assert fund.parts.tolist() == [75, 25, 0]


def test_where_lower_is_better_negative_credits_are_paid(exactly):
    fund = Fund(90, exactly([3.0, -1.0, -2.0], 10.0, 10.0), higher_is_better=False)
    assert fund.parts.tolist() == [0, 30, 60]


@pytest.mark.parametrize("amount", [0.01, 0.02, 1, 100, 999.99, 123456.78])
def test_parts_are_hundredths_that_sum_to_the_amount(amount, exactly):
    credits = np.random.default_rng(0).gamma(0.5, size=37)
    parts = Fund(amount, exactly(credits, 0.0, credits.sum()), higher_is_better=True).parts
    hundredths = (100 * parts).round().astype(int)
    assert hundredths.sum() == round(100 * amount)
    assert np.abs(parts - hundredths / 100).max() < 1e-12
    assert np.abs(parts - amount * credits / credits.sum()).max() < 0.01


def test_remaining_hundredths_go_where_rounding_took_most(exactly):
    # exactly 16.667, 33.333 and 50: the hundredth that is left goes to the first
    fund = Fund(1.00, exactly([1.0, 2.0, 3.0], 0.0, 6.0), higher_is_better=True)
    assert fund.parts.tolist() == [0.17, 0.33, 0.5]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_money_does_not_depend_on_the_unit_of_credits(unit, exactly):
    fund = Fund(100, exactly([3.0 * unit, unit, -2 * unit], 0.0, 2 * unit), higher_is_better=True)
    assert fund.parts.tolist() == [75, 25, 0]


def test_of_many_who_deserve_nearly_a_hundredth_one_goes_without_and_none_twice(exactly):
    """249 hundredths among 250 who are alike; those who come first have them."""
    names = [f"{number:03d}" for number in range(250)]
    grid = payout_grid({"q": Fund(2.49, exactly([1.0] * 250, 0.0, 250.0), True)}, names)
    assert [(row[0], row[-1].value) for row in grid.rows] == [
        (name, 0.01 if name < "249" else 0.0) for name in names
    ]


def test_sums_of_hundredths_are_hundredths(exactly):
    funds = {f"p{amount}": Fund(amount, exactly([1.0], 0.0, 1.0), True) for amount in (0.1, 0.2)}
    ((_, _, _, payout),) = payout_grid(funds, ["ann"]).rows
    assert payout == Estimate(0.3, 0.3, 0.3)


def test_nobody_is_paid_for_harm(exactly):
    fund = Fund(100, exactly([-1.0, 0.0, -2.0], 3.0, 0.0), higher_is_better=True)
    assert fund.parts.tolist() == [0, 0, 0]
    assert "Nobody improves fid: its 100.00 is not paid out." in grid_markdown(
        payout_grid({"fid": fund}, NAMES)
    )


def test_credits_that_are_zero_up_to_rounding_get_nothing(exactly):
    for v_empty in (7.0, 0.0):
        fund = Fund(100, exactly([1e-15, -1e-16, 0.0], v_empty, 7.0), higher_is_better=True)
        assert fund.parts.tolist() == [0, 0, 0]


def test_payouts_of_several_properties_are_summed_most_first(exactly):
    quality = Fund(100, exactly([1.0, 3.0, 0.0], 0.0, 4.0), higher_is_better=True)
    fid = Fund(200, exactly([0.0, -1.0, -3.0], 9.0, 5.0), higher_is_better=False)
    grid = payout_grid({"q": quality, "fid": fid}, NAMES)
    said = "in proportion to credits; who has a {} credit gets nothing of it."
    assert grid.notes[0] == f"100.00 for q, {said.format('negative')}"
    assert grid.notes[1] == f"200.00 for fid, {said.format('positive')}"
    rows = list(csv.reader(grid_csv(grid).splitlines()))
    assert rows[0] == ["contributor", "for q", "for fid", "payout", "payout_low", "payout_high"]
    assert [row[0] for row in rows[1:]] == ["cem", "bob", "ann"]
    assert [list(map(float, row[1:4])) for row in rows[1:]] == [
        [0, 150, 150],
        [75, 50, 125],
        [25, 0, 25],
    ]


def test_intervals_are_quantiles_of_what_plausible_credits_pay(exactly):
    first = np.linspace(0.0, 1.0, 1001)
    draws = np.stack([first, 1 - first, np.zeros(1001)], axis=1)
    attribution = replace(exactly([0.5, 0.5, 0.0], 0.0, 1.0), draws=draws, confidence=0.9)
    grid = payout_grid({"q": Fund(100, attribution, higher_is_better=True)}, NAMES)
    assert grid.rows == [
        ["ann", Estimate(50, 5, 95)],
        ["bob", Estimate(50, 5, 95)],
        ["cem", Estimate(0, 0, 0)],
    ]
    assert "Intervals: 90%, from the uncertainty of credits." in grid.notes
    nothing = Fund(0, replace(attribution, confidence=0.5), higher_is_better=True)
    both = payout_grid({"q": Fund(100, attribution, higher_is_better=True), "p": nothing}, NAMES)
    assert "Intervals: 50%, from the uncertainty of credits, properties taken" in both.notes[-1]
    assert both.rows[0][-1] == Estimate(50, 25, 75)


def test_errors_of_properties_are_taken_as_independent(exactly):
    draws = np.random.default_rng(0).normal([10.0, 10.0, 0.0], [1.0, 1.0, 0.0], (20_000, 3))
    one = Fund(50, replace(exactly([10.0, 10, 0], 0.0, 20.0), draws=draws), higher_is_better=True)
    width = {
        n: row[-1].high - row[-1].low
        for n in (1, 2)
        for row in payout_grid({f"p{i}": one for i in range(n)}, NAMES).rows[:1]
    }
    assert width[2] / width[1] == pytest.approx(2**0.5, rel=0.02)


@pytest.mark.parametrize("others", [{}, {"p": True}])
def test_unknown_errors_give_no_interval(make_attribution, others):
    errors = {**others, "q": False}
    funds = {name: Fund(10, make_attribution(3, known), True) for name, known in errors.items()}
    grid = payout_grid(funds, NAMES)
    assert all(np.isnan([row[-1].low, row[-1].high]).all() for row in grid.rows)
    assert "How far payouts may be off is unknown, as it is for the credits." in grid.notes
