import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from crediting.reporting.table import COLUMNS, credit_table


def test_columns_are_fixed():
    assert (
        *("contributor", "examples", "credit", "std_error", "noise_error", "ci_low", "ci_high"),
        *("share", "rank", "rank_low", "rank_high", "p_top"),
    ) == COLUMNS


@pytest.fixture
def exact_table(exactly):
    attribution = exactly([1.0, -3.0, 2.0], 5.0, 5.0)
    return lambda higher_is_better: credit_table(
        attribution, "abc", [7, 8, 9], "fid", "FID", higher_is_better, 1
    )


def test_highest_credit_ranks_first_where_higher_is_better(exact_table):
    table = exact_table(higher_is_better=True)
    assert [(row.contributor, row.examples, row.rank) for row in table.rows] == [
        ("c", 9, 1),
        ("a", 7, 2),
        ("b", 8, 3),
    ]
    assert "negative" not in " ".join(table.caption)


def test_most_negative_credit_ranks_first_where_lower_is_better(exact_table):
    table = exact_table(higher_is_better=False)
    assert [row.contributor for row in table.rows] == ["b", "a", "c"]
    assert [row.credit for row in table.rows] == [-3.0, 1.0, 2.0]
    assert "lower is better; negative credit lowers fid, i.e. improves it" in table.caption[0]


def test_caption_states_every_fact(make_table):
    caption = " ".join(make_table(5).caption)
    for fact in ("inception_score [score]", "higher is better", "kernel_shap", "512 coalitions"):
        assert fact in caption
    for fact in ("v(N) = ", "v(empty) = 1.02", "efficiency gap = 0.001", "confidence level 95%"):
        assert fact in caption


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_who_improves_what_all_worsen_is_told_why_the_share_is_negative(exactly, higher_is_better):
    good = 1.0 if higher_is_better else -1.0
    for others, told in ((3.0, True), (0.5, False), (1.0, False)):
        attribution = exactly([good, -others * good], 0.0, good * (1 - others))
        table = credit_table(attribution, "ab", None, "p", "", higher_is_better, 1)
        assert table.rows[0].contributor == "a"
        assert (table.rows[0].share < 0) == told
        assert any("improves it has a negative share" in line for line in table.caption) == told


def test_caption_names_exact_and_unknown_uncertainty(make_table, exact_table, exactly):
    assert "no sampling error" in exact_table(True).caption[1]
    assert "uncertainty unknown" in make_table(known=False).caption[1]
    assert "p_top" in " ".join(make_table().caption)
    assert "p_top" not in " ".join(make_table(known=False).caption)
    of_two = exactly([1.0, 2.0], 0.0, 3.0)
    for errors in ([0.0, 0.5], [np.nan, 0.5]):
        partly = replace(of_two, std_errors=np.array(errors))
        table = credit_table(partly, "ab", None, "p", "", True, 1)
        assert "confidence level 95%" in table.caption[1]


def test_numbers_are_plain_python(make_table):
    floats = {"credit", "std_error", "noise_error", "ci_low", "ci_high", "share", "p_top"}
    for row in make_table().rows:
        types = {name: type(cell) for name, cell in row._asdict().items()}
        assert types.pop("contributor") is str
        assert types == {name: float if name in floats else int for name in types}


def test_names_must_match_credits(make_attribution):
    with pytest.raises(ValueError, match="zip"):
        credit_table(make_attribution(3), ["a", "b"], [1, 2, 3], "fid", "FID", False, 1)


# ------------------------------------------------------------------------------ ranks


def test_exact_ranks_are_certain(exact_table):
    for higher_is_better in (True, False):
        rows = exact_table(higher_is_better).rows
        assert [(row.rank_low, row.rank_high) for row in rows] == [(1, 1), (2, 2), (3, 3)]
        assert [row.p_top for row in rows] == [1, 0, 0]


@pytest.mark.parametrize("rounding", [0.0, 1e-16])
def test_those_who_tie_may_have_any_of_their_ranks(exactly, rounding):
    tied = exactly([0.3, 0.1, 0.1 + rounding, 0.5], 0.0, 1.0)
    for higher_is_better in (True, False):
        table = credit_table(tied, "abcd", None, "p", "", higher_is_better, 3)
        rows = {row.contributor: row for row in table.rows}
        lowest = 3 if higher_is_better else 1
        ends = {(rows[name].rank_low, rows[name].rank_high) for name in "bc"}
        assert ends == {(lowest, lowest + 1)}
        assert (rows["a"].rank_low, rows["a"].rank_high) == ((2, 2) if higher_is_better else (3, 3))
        for name in "bc":
            expected = 0.5 if higher_is_better else 1
            assert rows[name].p_top == pytest.approx(expected, abs=0.05)


def ranked(attribution, orders, confidence, top, higher_is_better=True):
    """Return the rows of 3 contributors by name, of whom every order, best first, is a draw."""
    better = 1 if higher_is_better else -1
    draws = np.array([[-better * order.index(player) for player in "abc"] for order in orders])
    changed = replace(attribution, draws=draws.astype(float), confidence=confidence)
    table = credit_table(changed, "abc", None, "p", "", higher_is_better, top)
    return {row.contributor: row for row in table.rows}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_rank_intervals_and_top_probabilities_count_draws(make_attribution, higher_is_better):
    orders = ["abc"] * 96 + ["bac"] * 3 + ["cab"]
    rows = ranked(make_attribution(3), orders, 0.95, 1, higher_is_better)
    assert {name: row.p_top for name, row in rows.items()} == {"a": 0.96, "b": 0.03, "c": 0.01}
    ends = {name: (row.rank_low, row.rank_high) for name, row in rows.items()}
    assert ends == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    wide = ranked(make_attribution(3), orders, 0.999, 1, higher_is_better)
    assert (wide["c"].rank_low, wide["b"].rank_high) == (1, 3)


def test_a_wider_top_holds_more(make_attribution):
    rows = ranked(make_attribution(3), ["abc", "bca"], 0.9, 2)
    assert [rows[name].p_top for name in "abc"] == [0.5, 1.0, 0.5]


def test_the_top_leaves_somebody_out_and_the_caption_tells_its_size(make_attribution):
    for asked, told in ((2, 2), (9, 4)):
        table = credit_table(make_attribution(5), "abcde", None, "p", "", True, asked)
        assert sum(row.p_top for row in table.rows) == pytest.approx(told)
        assert f"top {told}." in " ".join(table.caption)


# ------------------------------------------------------------------------------ noise


def noise_line(attribution, std_errors, noise_errors, examples=(3, 4)):
    changed = replace(attribution, std_errors=std_errors, noise_errors=noise_errors)
    (line,) = [
        line
        for line in credit_table(changed, "ab", examples, "p", "", True, 1).caption
        if line.startswith("noise_error")
    ]
    return line


@pytest.mark.parametrize(
    ("std_errors", "noise_errors", "said"),
    [
        (
            [1.0, 1.0],
            [np.nan, np.nan],
            "not measured; to measure it, evaluate coalitions twice (replicates=2)",
        ),
        ([0.0, 0.0], [np.nan, np.nan], "not measured"),
        ([5.0, 5.0], [3.0, 3.0], "makes 36% of the mean squared error; more coalitions would"),
        ([3.0, 4.0], [3.0, 0.0], "makes 36% of"),
        ([5.0, 3.0], [3.0, 3.0], "makes 53% of the mean squared error; more replicates or images"),
        ([5.0, 5.0], [4.0, 4.0], "makes 64% of the mean squared error; more replicates or images"),
        ([1.0, 1.0], [2.0, 2.0], "makes 100% of"),
        ([0.0, 0.0], [0.0, 0.0], "makes 0% of the mean squared error."),
        ([np.nan, np.nan], [1.0, 1.0], "standard error from the noise of training and generating"),
    ],
)
def test_the_caption_tells_what_would_lower_the_error_most(
    std_errors, noise_errors, said, make_attribution
):
    line = noise_line(make_attribution(2), np.array(std_errors), np.array(noise_errors))
    assert said in line


def test_noise_in_a_table_of_ones_own_is_measured_by_its_rows(make_attribution):
    unknown = np.array([np.nan, np.nan])
    line = noise_line(make_attribution(2), np.ones(2), unknown, examples=None)
    assert line.endswith("evaluate coalitions twice (rows that repeat them).")


# ------------------------------------------------------------------------------ more


def test_explanation_and_notes_end_the_caption(make_attribution):
    plain = credit_table(make_attribution(2), "ab", None, "p", "", True, 1)
    explained = replace(make_attribution(2), explanation="It shrinks.")
    full = credit_table(explained, "ab", None, "p", "", True, 1, ["One.", "Two."])
    assert full.caption == (*plain.caption, "It shrinks.", "One.", "Two.")
    assert "" not in plain.caption


def test_importing_the_package_stays_cheap():
    code = (
        "import sys, crediting.reporting;"
        "print({'matplotlib', 'rich', 'torch'} & {m.split('.')[0] for m in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
