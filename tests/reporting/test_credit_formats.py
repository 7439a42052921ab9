import csv
import io
import math

import numpy as np
import pytest

from crediting.game.attribution import Attribution, exactly
from crediting.reporting import COLUMNS, credit_table, to_csv, to_latex, to_markdown
from crediting.reporting.formats import escape_latex, escape_markdown, rounded_rows

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
    read = read_csv(to_csv(credit_table(attribution, names, range(50), "fid", "FID", False)))
    assert tuple(read[0]) == COLUMNS
    players = [names.index(row["contributor"]) for row in read]
    arrays = {
        "credit": attribution.credits,
        "std_error": attribution.std_errors,
        "ci_low": attribution.ci_low,
        "ci_high": attribution.ci_high,
        "share": attribution.shares,
    }
    for column, array in arrays.items():
        found = np.array([float(row[column]) for row in read])
        assert found.tobytes() == array[players].tobytes()
    assert [int(row["examples"]) for row in read] == players
    assert [int(row["rank"]) for row in read] == list(range(1, 51))


def test_csv_keeps_names_as_they_are(make_table):
    read = read_csv(to_csv(make_table(names=NASTY)))
    assert sorted(row["contributor"] for row in read) == sorted(NASTY)


def test_unknown_is_an_empty_field_in_csv_and_a_dash_for_people(make_table):
    table = make_table(known=False)
    for row in read_csv(to_csv(table)):
        assert [row["std_error"], row["ci_low"], row["ci_high"]] == ["", "", ""]
        assert math.isfinite(float(row["credit"]))
    assert all(cells[3:6] == ["-", "-", "-"] for cells in rounded_rows(table))
    assert " & - & - & - & " in to_latex(table)
    for text in (to_csv(table), to_markdown(table), to_latex(table)):
        assert "nan" not in text.lower()


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


def column(credits, which=2):
    attribution = exactly(np.array(credits), 0.0, 1.0, "exact", 4)
    names = [str(i) for i in range(len(credits))]
    table = credit_table(attribution, names, [1] * len(credits), "p", "", True)
    return [cells[which] for cells in rounded_rows(table)]


@pytest.mark.parametrize(
    ("credits", "shown"),
    [
        ([12.3456, 0.5, -0.001], ["12.35", "0.50", "0.00"]),
        ([0.00012345, 0.0], ["0.0001234", "0.0000000"]),
        ([123456.7, -2.0], ["123457", "-2"]),
        ([1.5e-9, -2e-12], ["1.500e-09", "-2.000e-12"]),
    ],
)
def test_four_significant_digits_with_aligned_decimals(credits, shown):
    assert column(credits) == shown


def test_exact_errors_and_undefined_shares():
    assert column([1.0, -1.0], which=3) == ["0", "0"]
    assert column([1.0, -1.0], which=6) == ["-", "-"]


def test_negative_numbers_get_a_minus_sign_in_latex():
    numbers = np.array([-1.0, 3.0])
    attribution = Attribution(numbers, numbers, numbers, numbers, 0.9, 0.0, 2.0, "e", 3)
    text = to_latex(credit_table(attribution, ["a", "b"], [1, 1], "p", "u", True))
    assert "$-$1.000" in text
    assert r"$-$50.0\%" in text
