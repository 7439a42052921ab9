"""The credit table in a terminal, or in whatever its output is piped to."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from crediting.reporting.formats import one_line, rounded_rows
from crediting.reporting.table import CreditRow, CreditTable

_WIDEST_NAME = 20
_NARROWEST_BAR, _WIDEST_BAR = 10, 40
_COLUMN_GAP = 2


class _Glyphs(NamedTuple):
    nothing: str
    interval: str
    bar: str
    bar_in_interval: str
    zero: str


_UNICODE = _Glyphs(" ", "─", "█", "▒", "│")
_ASCII = _Glyphs(" ", "-", "#", "=", "|")


def print_table(table: CreditTable, console: Console | None = None) -> None:
    """Print the table with its caption, and with bars where the console is wide enough."""
    console = console or Console()
    glyphs = _ASCII if console.options.ascii_only else _UNICODE
    numbers_width = Measurement.get(console, console.options, _grid(table, None)).maximum
    room = console.width - numbers_width - _COLUMN_GAP
    bars = None
    lines = [*table.caption]
    if room >= _NARROWEST_BAR:
        bars = _bars(table.rows, min(room, _WIDEST_BAR), glyphs)
        lines.append(
            f"Bars: {glyphs.zero} zero, {glyphs.bar} credit, "
            f"{glyphs.bar_in_interval}{glyphs.interval} interval inside and outside the bar."
        )
    console.print(_grid(table, bars))
    console.print()
    for line in lines:
        console.print(Text(one_line(line)))


def _grid(table: CreditTable, bars: Sequence[str] | None) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("rank", justify="right", no_wrap=True)
    grid.add_column("contributor", overflow="fold", max_width=_WIDEST_NAME)
    for heading in ("examples", "credit", "std_error", "share"):
        grid.add_column(heading, justify="right", no_wrap=True)
    if bars is not None:
        grid.add_column("", no_wrap=True)
    for index, cells in enumerate(rounded_rows(table)):
        name, examples, credit, std_error, _, _, share, rank = cells
        bar = [] if bars is None else [bars[index]]
        # Text, because rich would read brackets in a name as its markup.
        grid.add_row(*map(Text, [rank, name, examples, credit, std_error, share, *bar]))
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
        return glyphs.interval if cell in interval else glyphs.nothing

    return "".join(map(glyph, range(width)))
