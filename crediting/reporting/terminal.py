"""Credit tables in a terminal, or in whatever its output is piped to."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crediting.reporting.formats import UNKNOWN, one_line, rounded_columns
from crediting.reporting.table import CreditRow, CreditTable

_BARS = "bars"
_ORDER = (
    *("rank", "ranks", "contributor", "examples", "credit", "std_error", "noise_error"),
    *("share", "p_top", _BARS),
)
_ALWAYS = ("rank", "contributor", "credit", "std_error")
_WHERE_THERE_IS_ROOM = ("share", "p_top", _BARS, "ranks", "noise_error", "examples")
"""The most important first; one that does not fit leaves its room to those after it."""
_WIDEST_NAME = 20
_NARROWEST_BAR, _WIDEST_BAR = 10, 40
_COLUMN_GAP = 2


class _Glyphs(NamedTuple):
    interval: str
    bar: str
    bar_in_interval: str
    zero: str


_UNICODE = _Glyphs("─", "█", "▒", "│")
_ASCII = _Glyphs("-", "#", "=", "|")


def print_credits(tables: Sequence[CreditTable], console: Console | None = None) -> None:
    """Print tables with their captions, and last what all of them say, once.

    What has no room is left to the files.
    """
    console = console or Console()
    glyphs = _ASCII if console.options.ascii_only else _UNICODE
    drawn = [_drawn(table, console.width, glyphs) for table in tables]
    shared = [line for line in drawn[0][1] if all(line in lines for _, lines in drawn)]
    for grid, lines in drawn:
        console.print()
        console.print(grid)
        console.print()
        _print_lines([line for line in lines if line not in shared], console)
    if len(drawn) > 1:
        console.print()
    _print_lines(shared, console)


def _drawn(table: CreditTable, width: int, glyphs: _Glyphs) -> tuple[Table, list[str]]:
    """Return what fits of a table into so many characters, and the lines below it."""
    cells = _cells(table)
    shown, room = _fitting(cells, width)
    lines = [*table.caption]
    if _BARS in shown:
        cells[_BARS] = _bars(table.rows, min(room, _WIDEST_BAR), glyphs)
        lines.append(
            f"Bars: {glyphs.zero} zero, {glyphs.bar} credit, "
            f"{glyphs.bar_in_interval}{glyphs.interval} interval inside and outside the bar."
        )
    return _grid({name: cells[name] for name in _ORDER if name in shown}), lines


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(Text(one_line(line)))


def _cells(table: CreditTable) -> dict[str, list[str]]:
    """Return the cells by column, the interval of a rank in one; bars are still to be drawn."""
    columns = rounded_columns(table)
    ends = zip(columns.pop("rank_low"), columns.pop("rank_high"), strict=True)
    columns["ranks"] = [low if low == high else f"{low}-{high}" for low, high in ends]
    return columns | {_BARS: []}


def _fitting(cells: Mapping[str, Sequence[str]], width: int) -> tuple[set[str], int]:
    """Return the columns that fit and say something, and the width that is left for bars."""
    widths = {name: max(map(cell_len, [name, *column])) for name, column in cells.items()}
    widths["contributor"] = min(widths["contributor"], _WIDEST_NAME)
    widths[_BARS] = _NARROWEST_BAR
    shown = set(_ALWAYS)
    room = width - sum(widths[name] + _COLUMN_GAP for name in shown) + _COLUMN_GAP
    for name in _WHERE_THERE_IS_ROOM:
        needed = widths[name] + _COLUMN_GAP
        unknown = name != _BARS and set(cells[name]) == {UNKNOWN}
        if needed <= room and not unknown:
            shown.add(name)
            room -= needed
    return shown, room + _NARROWEST_BAR


def _grid(cells: Mapping[str, Sequence[str]]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for name in cells:
        if name == "contributor":
            grid.add_column(name, overflow="fold", max_width=_WIDEST_NAME)
        elif name == _BARS:
            grid.add_column("", no_wrap=True)
        else:
            grid.add_column(name, justify="right", no_wrap=True)
    for row in zip(*cells.values(), strict=True):
        grid.add_row(*map(Text, row))  # rich would read brackets in a name as its markup
    return grid


def _bars(rows: Sequence[CreditRow], width: int, glyphs: _Glyphs) -> list[str]:
    """Draw every credit and its interval on one scale, `width` characters wide."""
    values = [v for row in rows for v in (row.credit, row.ci_low, row.ci_high) if math.isfinite(v)]
    low, high = min([0.0, *values]), max([0.0, *values])
    step = (high - low) / (width - 1) or 1.0

    def between(one: float, other: float) -> range:
        if math.isnan(one) or math.isnan(other):
            return range(0)
        first, last = (round((min(max(v, low), high) - low) / step) for v in sorted((one, other)))
        return range(first, last + 1)

    zero = between(0.0, 0.0)
    drawn = []
    for row in rows:
        interval = between(row.ci_low, row.ci_high) if row.ci_low != row.ci_high else range(0)
        drawn.append(_bar(width, zero, between(0.0, row.credit), interval, glyphs))
    return drawn


def _bar(width: int, zero: range, filled: range, interval: range, glyphs: _Glyphs) -> str:
    def glyph(cell: int) -> str:
        if cell in zero:
            return glyphs.zero
        if cell in filled:
            return glyphs.bar_in_interval if cell in interval else glyphs.bar
        return glyphs.interval if cell in interval else " "

    return "".join(map(glyph, range(width)))
