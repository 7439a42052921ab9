import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from crediting.reporting.table import credit_table
from crediting.reporting.terminal import print_credits

NAMES = ["Claude Monet", "[bold]Hokusai[/bold]", ":smile: & Sons", "葛飾北斎", "Ada"]
SHARES = ("share", "p_top")


def printed(*tables, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_credits(tables, console)
    return console.file.getvalue().removeprefix("\n")


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_all_names_within_80_columns(make_table, higher_is_better, known):
    text = printed(make_table(names=NAMES, higher_is_better=higher_is_better, known=known))
    assert all(name in text for name in NAMES)
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "nan" not in text
    assert "█" in text


def test_300_contributors_within_80_columns(make_table):
    text = printed(make_table(300))
    assert all(f"artist {i:03d}" in text for i in range(300))
    assert max(map(len, text.splitlines())) <= 80


def test_a_long_name_is_folded_not_cut(make_table):
    name = "The Honourable Company of Engravers Painters and Photographers"
    text = printed(make_table(names=["a", name]))
    assert all(word in text for word in name.split())
    assert max(map(len, text.splitlines())) <= 80


def test_a_narrow_console_shows_no_bars(make_table):
    text = printed(make_table(), width=60)
    assert "█" not in text
    assert "share" in text
    assert max(map(len, text.splitlines())) <= 60


def headings(table, width):
    return printed(table, width=width).splitlines()[0].split()


def test_the_wider_the_console_the_more_columns(make_table):
    least = ["rank", "contributor", "credit", "std_error"]
    assert headings(make_table(), 40) == least
    assert headings(make_table(), 50) == [*least, "share"]
    assert headings(make_table(names=NAMES), 80) == [*least, *SHARES]
    assert headings(make_table(names=NAMES), 90) == ["rank", "ranks", *least[1:], *SHARES]
    everything = printed(make_table(names=NAMES), width=120).splitlines()
    assert set(everything[0].split()) == {*least, "ranks", "examples", "noise_error", *SHARES}
    assert len(everything[1]) <= 120


def test_columns_of_which_nothing_is_known_are_left_out(make_table):
    known = headings(make_table(known=False), 160)
    assert known == ["rank", "contributor", "examples", "credit", "std_error", "share"]


def test_the_interval_of_a_rank_is_one_number_where_it_is_certain(exactly, make_table):
    table = credit_table(exactly([3.0, 1.0], 0.0, 4.0), "ab", None, "p", "", True, 1)
    lines = printed(table).splitlines()
    assert [line.split()[:3] for line in lines[2:4]] == [["1", "1", "a"], ["2", "2", "b"]]
    unsure = make_table(12)
    for row, line in zip(unsure.rows, printed(unsure, width=160).splitlines()[2:], strict=False):
        ends = f"{row.rank_low}-{row.rank_high}" if row.rank_low < row.rank_high else row.rank_low
        assert line.split()[1] == str(ends)


def test_bars_point_away_from_a_common_zero(make_table):
    table = make_table(12)
    lines = [line for line in printed(table).splitlines() if "artist" in line]
    zeros = {line.index("│") for line in lines}
    assert len(zeros) == 1
    zero = zeros.pop()
    for row, line in zip(table.rows, lines, strict=True):
        left, right = line[:zero], line[zero:]
        filled = left if row.credit < 0 else right
        other = right if row.credit < 0 else left
        assert not set(other) & set("█▒")
        assert abs(row.credit) < 0.03 or set(filled) & set("█▒")


def test_bars_are_as_long_as_credits_from_zero_and_certain_ones_have_no_interval(exactly):
    table = credit_table(exactly([40.0, 20.0, 10.0], 0.0, 70.0), "abc", None, "p", "", True, 1)
    lines = printed(table, width=120).splitlines()[2:5]
    bars = [line.partition("│")[2] for line in lines]
    assert set("".join(bars)) <= {"█", " "}
    first, second, third = (bar.count("█") for bar in bars)
    assert first > 30
    assert second == pytest.approx(first / 2, abs=1)
    assert third == pytest.approx(first / 4, abs=1)


def test_endless_intervals_reach_both_ends_of_the_scale(exactly):
    known, width = exactly([2.0, -1.0], 0.0, 1.0), np.array([np.inf, 0.0])
    unsure = replace(known, ci_low=known.credits - width, ci_high=known.credits + width)
    lines = printed(credit_table(unsure, "ab", None, "p", "", True, 1), width=120).splitlines()[2:4]
    endless, certain = (line[-40:] for line in lines)
    assert endless.count("─") + endless.count("▒") == 39
    assert certain.count("─") + certain.count("▒") == 0


def test_what_all_tables_say_is_said_once_and_last(make_table):
    tables = make_table(), make_table(higher_is_better=False)
    alone = [printed(table, width=200).splitlines() for table in tables]
    together = printed(*tables, width=200).splitlines()
    shared = [line for line in tables[0].caption if line in tables[1].caption]
    own = [line for table in tables for line in table.caption if line not in shared]
    assert together[-len(shared) - 1 : -1] == shared
    assert together[-1].startswith("Bars:")
    assert {line for lines in alone for line in lines} == set(together)
    assert all(together.count(line) == 1 for line in [*shared, *own, together[-1]])
    assert [line for line in together if line in own] == own


def test_piped_ascii_output():
    code = (
        "import numpy as np\n"
        "from crediting.game.attribution import Attribution\n"
        "from crediting.reporting.table import credit_table\n"
        "from crediting.reporting.terminal import print_credits\n"
        "credits = np.array([1.0, -2.0])\n"
        "facts = 0.95, 0.0, -1.0, 'exact', 4, ''\n"
        "arrays = credits, 0 * credits, credits, credits, 0 * credits, credits[None]\n"
        "attribution = Attribution(*arrays, *facts)\n"
        "table = credit_table(attribution, ['ada', 'bob'], None, 'fid', 'FID', False, 1)\n"
        "print_credits([table])\n"
    )
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert run.returncode == 0, run.stderr.decode()
    text = run.stdout.decode("ascii")
    assert text.index("bob") < text.index("ada")
    assert "###" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
