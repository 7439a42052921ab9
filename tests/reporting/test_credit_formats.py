import csv
import io
import math

import numpy as np
import pytest

from crediting.reporting.formats import (
    csv_text,
    escape_latex,
    escape_markdown,
    rank_csv,
    rounded_columns,
    rounded_rows,
    to_csv,
    to_latex,
    to_markdown,
)
from crediting.reporting.table import COLUMNS, credit_table

NASTY = ["a_b & c%", "x|y*z", "{#1}$^~\\", 'Doe, "J."', "two\nlines"]


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def markdown_rows(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def cells_of(row):
    return row.replace("\\|", "").strip("|").split("|")


def test_csv_reads_back_bit_for_bit(make_attribution):
    attribution = make_attribution(50)
    names = [f"n{i}" for i in range(50)]
    read = read_csv(to_csv(credit_table(attribution, names, range(50), "fid", "FID", False, 3)))
    assert tuple(read[0]) == COLUMNS
    players = [names.index(row["contributor"]) for row in read]
    arrays = {
        "credit": attribution.credits,
        "std_error": attribution.std_errors,
        "noise_error": attribution.noise_errors,
        "ci_low": attribution.ci_low,
        "ci_high": attribution.ci_high,
        "share": attribution.shares,
        "p_top": attribution.top_probabilities(3, higher_is_better=False),
    }
    for column, array in arrays.items():
        found = np.array([float(row[column]) for row in read])
        assert found.tobytes() == array[players].tobytes()
    assert [int(row["examples"]) for row in read] == players
    assert [int(row["rank"]) for row in read] == list(range(1, 51))


def test_csv_keeps_names_as_they_are(make_table):
    read = read_csv(to_csv(make_table(names=NASTY)))
    assert sorted(row["contributor"] for row in read) == sorted(NASTY)


UNKNOWN = {"std_error", "noise_error", "ci_low", "ci_high", "rank_low", "rank_high", "p_top"}


def test_unknown_is_an_empty_field_in_csv_and_a_dash_for_people(make_table):
    table = make_table(known=False)
    for row in read_csv(to_csv(table)):
        assert {column for column, cell in row.items() if cell == ""} == UNKNOWN
        assert math.isfinite(float(row["credit"]))
    dashed = {name for name, cells in rounded_columns(table).items() if set(cells) == {"-"}}
    assert dashed == UNKNOWN
    assert " & - & - & - & - & " in to_latex(table)
    for text in (to_csv(table), to_markdown(table), to_latex(table)):
        assert "nan" not in text.lower()
        assert "None" not in text


def test_csv_tells_what_is_infinite_from_what_is_unknown():
    assert csv_text("abc", [[-math.inf, math.nan, None]]) == "a,b,c\n-inf,,\n"


def test_examples_may_be_unknown(make_attribution):
    table = credit_table(make_attribution(3), "abc", None, "fid", "FID", False, 1)
    assert {row["examples"] for row in read_csv(to_csv(table))} == {""}
    assert rounded_columns(table)["examples"] == ["-"] * 3


def test_rank_probabilities_are_a_row_per_contributor_to_the_last_bit(make_attribution):
    probabilities = make_attribution(5).rank_probabilities()
    read = list(csv.reader(io.StringIO(rank_csv(NASTY, probabilities), newline="")))
    assert read[0] == ["contributor", "1", "2", "3", "4", "5"]
    assert [row[0] for row in read[1:]] == NASTY
    np.testing.assert_array_equal(np.array([row[1:] for row in read[1:]], float), probabilities)


def test_equal_tables_are_equal_bytes(make_table):
    for render in (to_csv, to_markdown, to_latex):
        assert render(make_table(names=NASTY)) == render(make_table(names=NASTY))


def test_markdown_has_a_row_per_contributor_and_all_columns(make_table):
    rows = markdown_rows(to_markdown(make_table(names=NASTY)))
    assert len(rows) == 2 + len(NASTY)
    assert {len(cells_of(row)) for row in rows} == {len(COLUMNS)}
    assert len({len(row) for row in rows}) == 1


def test_latex_has_a_row_per_contributor_and_all_columns(make_table):
    text = to_latex(make_table(names=NASTY))
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 1 + len(NASTY)
    assert {row.replace(r"\&", "").count("&") for row in rows} == {len(COLUMNS) - 1}
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_a_table_of_more_than_a_page_breaks_over_pages_in_latex(make_table):
    assert r"\begin{tabular}" in to_latex(make_table(40))
    text = to_latex(make_table(258))
    assert "tabular" not in text
    assert r"\begin{longtable}" in text
    rows = [line for line in text.splitlines() if line.endswith(r" \\") and "&" in line]
    assert len(rows) == 2 + 258  # the header on the first page, and on every other
    assert {row.replace(r"\&", "").count("&") for row in rows} == {len(COLUMNS) - 1}
    assert text.count(r"\begin") == text.count(r"\end{") + text.count(r"\endgroup")
    assert text.index(r"\endfirsthead") < text.index(r"\endhead") < text.index(r"\endfoot")


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a_b & c%", r"a\_b \& c\%"),
        ("{#1}$^~\\", r"\{\#1\}\$\textasciicircum{}\textasciitilde{}\textbackslash{}"),
        ("[1] *", "{[}1] {*}"),
    ],
)
def test_latex_escaping(name, escaped):
    assert escape_latex(name) == escaped


@pytest.mark.parametrize(
    ("name", "escaped"),
    [("x|y*z", r"x\|y\*z"), ("<b>\n[a]", r"\<b\> \[a\]"), ("a\x1b[0m", r"a \[0m")],
)
def test_markdown_escaping(name, escaped):
    assert escape_markdown(name) == escaped


@pytest.fixture
def column(exactly):
    """Return a function of credits and a column that gives its rounded cells."""

    def rounded(credits, name="credit"):
        names = [str(i) for i in range(len(credits))]
        attribution = exactly(credits, 0.0, 1.0)
        table = credit_table(attribution, names, [1] * len(credits), "p", "", True, 1)
        return rounded_columns(table)[name]

    return rounded


@pytest.mark.parametrize(
    ("credits", "shown"),
    [
        ([12.3456, 0.5, -0.001], ["12.35", "0.50", "0.00"]),
        ([0.00012345, 0.0], ["0.0001234", "0.0000000"]),
        ([123456.7, -2.0], ["123457", "-2"]),
        ([1.5e-9, -2e-12], ["1.500e-09", "-2.000e-12"]),
    ],
)
def test_four_significant_digits_with_aligned_decimals(credits, shown, column):
    assert column(credits) == shown


def test_exact_errors_and_undefined_shares(column):
    assert column([1.0, -1.0], "std_error") == ["0", "0"]
    assert column([1.0, -1.0], "noise_error") == ["-", "-"]
    assert column([1.0, -1.0], "share") == ["-", "-"]


def test_rows_hold_the_cells_of_the_columns(make_table):
    table = make_table(4)
    columns = rounded_columns(table)
    assert tuple(columns) == COLUMNS
    assert [[*row] for row in zip(*columns.values(), strict=True)] == rounded_rows(table)


def test_negative_numbers_get_a_minus_sign_in_latex(exactly):
    text = to_latex(credit_table(exactly([-1.0, 3.0], 0.0, 2.0), "ab", [1, 1], "p", "u", True, 1))
    assert "$-$1.000" in text
    assert r"$-$50.0\%" in text
