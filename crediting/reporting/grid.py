"""Tables of comparisons: names, numbers and estimates with intervals, for people and machines."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crediting.reporting.formats import (
    UNKNOWN,
    csv_text,
    escape_latex,
    escape_markdown,
    latex_number,
    latex_table,
    one_line,
    pipe_table,
    rounded,
    shared_format,
)

POINTS = "% points"
"""The unit of differences of percentages; points alone are what scores of images may be in."""
MONEY = "money"
"""The unit of amounts of whatever currency, told to the hundredth."""
_DECIMALS = {"%": 1, POINTS: 1, MONEY: 2}


class Estimate(NamedTuple):
    """A number and the ends of its interval, each NaN where unknown."""

    value: float
    low: float
    high: float


Cell = str | int | float | Estimate | None


class Column(NamedTuple):
    """The name of a column, and the unit of its numbers or nothing."""

    name: str
    unit: str

    @property
    def heading(self) -> str:
        """The name with its unit, on one line."""
        return one_line(f"{self.name} [{self.unit}]" if self.unit else self.name)


@dataclass(frozen=True)
class Grid:
    """A titled table of plain Python values; None and NaN are unknown.

    Raises:
        ValueError: a row has not a cell for every column, or two columns have one name.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            lengths = sorted({len(row) for row in self.rows})
            raise ValueError(f"expected rows of {len(self.columns)} cells, got {lengths}")
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"expected columns of different names, got {names}")

    @staticmethod
    def of(
        title: str, columns: Sequence[tuple[Column, Sequence[Cell]]], notes: Sequence[str]
    ) -> "Grid":
        """Return the table of columns that are each given with its cells, top down."""
        headings, cells = zip(*columns, strict=True)
        return Grid(title, headings, [list(row) for row in zip(*cells, strict=True)], notes)

    def column(self, place: int) -> list[Cell]:
        """Return the cells of a column, top down."""
        return [row[place] for row in self.rows]

    @property
    def alignment(self) -> str:
        """For every column l if it holds text, r if it holds numbers."""
        return "".join(
            "l" if any(isinstance(cell, str) for cell in self.column(place)) else "r"
            for place in range(len(self.columns))
        )


class Rounded(NamedTuple):
    """A cell for people: its number or text, and the interval beside it or nothing."""

    value: str
    interval: str

    @property
    def text(self) -> str:
        """Both of them."""
        return f"{self.value} {self.interval}" if self.interval else self.value


def grid_markdown(grid: Grid) -> str:
    """Return the title, a pipe table, rounded, and the notes as a list."""
    header = [escape_markdown(column.heading) for column in grid.columns]
    body = _body(grid, number=lambda cell: cell.text, text=escape_markdown)
    lines = pipe_table(header, body, grid.alignment)
    title = [f"**{escape_markdown(grid.title)}**", ""] if grid.title else []
    notes = ["", *(f"- {escape_markdown(note)}" for note in grid.notes)] if grid.notes else []
    return "\n".join([*title, *lines, *notes, ""])


def grid_latex(grid: Grid) -> str:
    """Return a table, rounded, with title and notes as caption; needs booktabs."""
    header = [escape_latex(column.heading) for column in grid.columns]
    body = _body(grid, number=_latex_number, text=escape_latex)
    caption = escape_latex(" ".join([_sentence(grid.title), *grid.notes]))
    return latex_table(caption, header, body, grid.alignment)


def grid_csv(grid: Grid) -> str:
    """Return the table at full precision; an unknown number is an empty field.

    A column of estimates becomes three: its name, and this with _low and _high.
    """
    names: list[str] = []
    fields: list[list[Cell]] = []
    for place, column in enumerate(grid.columns):
        cells = grid.column(place)
        names.append(column.name)
        fields.append([cell.value if isinstance(cell, Estimate) else cell for cell in cells])
        if any(isinstance(cell, Estimate) for cell in cells):
            names += [f"{column.name}_low", f"{column.name}_high"]
            fields.append([cell.low if isinstance(cell, Estimate) else None for cell in cells])
            fields.append([cell.high if isinstance(cell, Estimate) else None for cell in cells])
    return csv_text(names, zip(*fields, strict=True))


def rounded_column(grid: Grid, place: int) -> list[Rounded]:
    """Return the cells of a column for people, all its numbers with equally many decimals.

    Percentages and points of them have one decimal, money has two; other numbers as many as give
    the largest 4 significant digits.
    """
    cells = grid.column(place)
    numbers = [number for cell in cells for number in _fractions(cell)]
    decimals = _DECIMALS.get(grid.columns[place].unit)
    style = shared_format(numbers) if decimals is None else f"z.{decimals}f"
    return [_rounded(cell, style) for cell in cells]


def _body(
    grid: Grid, number: Callable[[Rounded], str], text: Callable[[str], str]
) -> list[tuple[str, ...]]:
    """Return the rounded cells of every row, numbers and text each written in their own way."""
    columns = [
        [
            text(cell.text) if raw is None or isinstance(raw, str) else number(cell)
            for raw, cell in zip(grid.column(place), rounded_column(grid, place), strict=True)
        ]
        for place in range(len(grid.columns))
    ]
    return list(zip(*columns, strict=True))


def _fractions(cell: Cell) -> tuple[float, ...]:
    """Return the numbers of a cell that are to be rounded."""
    if isinstance(cell, Estimate):
        return tuple(cell)
    return (cell,) if isinstance(cell, float) else ()


def _rounded(cell: Cell, style: str) -> Rounded:
    if isinstance(cell, Estimate):
        known = not any(map(math.isnan, cell))
        interval = f"[{cell.low:{style}}, {cell.high:{style}}]" if known else ""
        return Rounded(rounded(cell.value, style), interval)
    if isinstance(cell, float):
        return Rounded(rounded(cell, style), "")
    return Rounded(UNKNOWN if cell is None else one_line(str(cell)), "")


def _latex_number(cell: Rounded) -> str:
    value = latex_number(cell.value)
    if not cell.interval:
        return value
    ends = ", ".join(map(latex_number, cell.interval[1:-1].split(", ")))
    return rf"{value} {{\footnotesize [{ends}]}}"


def _sentence(title: str) -> str:
    title = one_line(title)
    return title if title.endswith((".", "!", "?")) or not title else f"{title}."
