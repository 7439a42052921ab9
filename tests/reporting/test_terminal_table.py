import io
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from crediting.reporting.terminal import print_table

NAMES = ["Claude Monet", "[bold]Hokusai[/bold]", ":smile: & Sons", "葛飾北斎", "Ada"]


def printed(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_table(table, console)
    return console.file.getvalue()


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


def test_piped_ascii_output():
    code = (
        "import numpy as np\n"
        "from crediting.game.attribution import exactly\n"
        "from crediting.reporting import credit_table\n"
        "from crediting.reporting.terminal import print_table\n"
        "attribution = exactly(np.array([1.0, -2.0]), 0.0, -1.0, 'exact', 4)\n"
        "print_table(credit_table(attribution, ['ada', 'bob'], [1, 2], 'fid', 'FID', False))\n"
    )
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert run.returncode == 0, run.stderr.decode()
    text = run.stdout.decode("ascii")
    assert text.index("bob") < text.index("ada")
    assert "###" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
