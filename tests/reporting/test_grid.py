import csv
import io
import math
import re

import numpy as np
import pytest
from rich.console import Console

from crediting.reporting.grid import (
    Column,
    Estimate,
    Grid,
    grid_csv,
    grid_latex,
    grid_markdown,
    rounded_column,
)
from crediting.reporting.grid_terminal import print_grid

NAN = math.nan
THIRD = 1 / 3
NASTY = "a_b & 50% of [x] | $y$ #1"
COLUMNS = [Column("method", ""), Column("LDS", "%"), Column("hours", "h"), Column("coalitions", "")]
ROWS = [
    ["own", Estimate(100 * THIRD, -2 * THIRD, 40.0), 12.3456, 512],
    [NASTY, Estimate(-5.04, NAN, NAN), THIRD, 8],
    ["nothing", None, NAN, None],
    ["lost", Estimate(NAN, NAN, NAN), None, 0],
]
GRID = Grid("Scores_of everybody", COLUMNS, ROWS, ["intervals of 95 %", "see [x]"])
WIDE = Grid(
    "wide",
    [Column("method", ""), *(Column(f"LDS alpha=0.{i}", "%") for i in range(1, 10))],
    [
        [f"renormalised_influence_{i}", *(Estimate(60.0 + i + j, 10, 99) for j in range(9))]
        for i in range(3)
    ],
    [],
)


def printed(grid, width):
    stream = io.StringIO()
    print_grid(grid, Console(file=stream, width=width))
    return stream.getvalue()


def markdown_table(text):
    """Read a pipe table back, undoing the escapes."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    return [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row] for row in cells]


def test_markdown_reads_back_as_the_rounded_table():
    header, rule, *body = markdown_table(grid_markdown(GRID))
    assert header == ["method", "LDS [%]", "hours [h]", "coalitions"]
    assert [cell.endswith(":") for cell in rule] == [False, True, True, True]
    assert body == [
        ["own", "33.3 [-0.7, 40.0]", "12.35", "512"],
        [NASTY, "-5.0", "0.33", "8"],
        ["nothing", "-", "-", "-"],
        ["lost", "-", "-", "0"],
    ]
    lines = grid_markdown(GRID).splitlines()
    assert lines[0] == r"**Scores\_of everybody**"
    assert lines[-2:] == ["- intervals of 95 %", r"- see \[x\]"]


def test_csv_holds_full_precision_with_three_columns_for_an_estimate():
    header, *body = csv.reader(io.StringIO(grid_csv(GRID)))
    assert header == ["method", "LDS", "LDS_low", "LDS_high", "hours", "coalitions"]
    first, second, third, fourth = body
    assert [float(field) for field in first[1:4]] == [100 * THIRD, -2 * THIRD, 40.0]
    assert second == [NASTY, "-5.04", "", "", repr(THIRD), "8"]
    assert third == ["nothing", "", "", "", "", ""]
    assert fourth == ["lost", "", "", "", "", "0"]


def test_csv_takes_numbers_of_numpy():
    value = np.float64(THIRD)
    cells = [value, Estimate(value, value, value), np.int64(3)]
    grid = Grid("", [Column(name, "") for name in "abc"], [cells], [])
    assert grid_csv(grid).splitlines()[1] == ",".join([repr(THIRD)] * 4 + ["3"])


def test_latex_escapes_text_and_sets_minus_signs():
    text = grid_latex(GRID)
    assert r"a\_b \& 50\% of {[}x] \textbar{} \$y\$ \#1 & $-$5.0 & 0.33 & 8 \\" in text
    assert r"own & 33.3 {\footnotesize [$-$0.7, 40.0]} & 12.35 & 512 \\" in text
    assert r"nothing & - & - & - \\" in text
    assert r"\caption{Scores\_of everybody. intervals of 95 \% see {[}x]}" in text
    assert r"\begin{tabular}{lrrr}" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert body.count(r"\\") == len(ROWS)


def test_percentages_and_points_have_one_decimal_and_other_numbers_four_digits():
    def texts(unit, *cells):
        grid = Grid("", [Column("x", unit)], [[cell] for cell in cells], [])
        return [cell.text for cell in rounded_column(grid, 0)]

    assert texts("%", 12.345, 0.01) == ["12.3", "0.0"]
    assert texts("% points", -12.345) == ["-12.3"]
    assert texts("points", 0.2423, 0.04) == ["0.2423", "0.0400"]  # scores of beauty, say
    assert texts("s", 1234.4, 60.6, 7) == ["1234", "61", "7"]
    assert texts("", Estimate(0.5, 0.25, 0.75)) == ["0.5000 [0.2500, 0.7500]"]
    assert texts("", None, NAN, "two\nlines") == ["-", "-", "two lines"]


def test_rows_of_other_lengths_and_columns_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"rows of 4 cells, got \[3, 4\]"):
        Grid("", COLUMNS, [ROWS[0], ROWS[1][:3]], [])
    with pytest.raises(ValueError, match="different names"):
        Grid("", [Column("a", ""), Column("a", "%")], [], [])


def test_a_grid_without_rows_has_a_header_everywhere():
    grid = Grid("", COLUMNS, [], [])
    assert markdown_table(grid_markdown(grid))[0] == [column.heading for column in COLUMNS]
    assert grid_csv(grid) == "method,LDS,hours,coalitions\n"
    assert r"\midrule" in grid_latex(grid)
    assert "method" in printed(grid, 80)


def test_terminal_holds_every_value_and_interval_where_there_is_room():
    text = printed(GRID, 100)
    assert text.splitlines()[0] == "Scores_of everybody"
    for shown in ("33.3 [-0.7, 40.0]", "-5.0", "12.35", "0.33", "512", NASTY, "see [x]"):
        assert shown in text
    assert "In the files" not in text
    assert next(line for line in text.splitlines() if "nothing" in line).split() == [
        *("nothing", "-", "-", "-")
    ]


def test_numbers_of_a_wide_table_stay_whole_in_80_columns():
    text = printed(WIDE, 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.startswith("renormalised")]
    assert [row[0] for row in rows] == [row[0] for row in WIDE.rows]
    shown = len(rows[0]) - 1
    assert 3 <= shown < 9
    for i, row in enumerate(rows):
        assert row[1:] == [f"{60 + i + j}.0" for j in range(shown)]
    assert "Intervals are in the files." in text
    left_out = " ".join(text[text.index("In the files only:") :].split())
    headings = [column.heading for column in WIDE.columns[shown + 1 :]]
    assert left_out == f"In the files only: {', '.join(headings)}."


@pytest.mark.parametrize("width", [40, 60, 80, 95, 120, 160, 240])
@pytest.mark.parametrize("grid", [GRID, WIDE])
def test_no_number_breaks_at_any_width(grid, width):
    lines = printed(grid, width).splitlines()
    assert max(map(len, lines)) <= width
    shown = " ".join(lines)
    places = [
        place
        for place, column in enumerate(grid.columns)
        if place and column.name.split()[-1] in shown.split("In the files only")[0].split()
    ]
    for place in places:
        for cell in rounded_column(grid, place):
            assert cell.value in shown.split()


def test_intervals_stay_where_headings_can_break():
    columns = [Column("method", ""), Column("a heading of many words, longer than its cells", "%")]
    grid = Grid("", columns, [["own", Estimate(12.3, 10.0, 14.0)]], [])
    text = printed(grid, 30)
    assert "12.3 [10.0, 14.0]" in text
    assert "In the files" not in text


def test_a_first_column_without_room_is_folded_and_not_left_out():
    grid = Grid("", COLUMNS[:2], [["x" * 30, 1.0]], [])
    text = printed(grid, 20)
    assert text.count("x") == 30
    assert "In the files only: LDS [%]." in " ".join(text.split())
