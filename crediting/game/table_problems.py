"""What can be said against a table of utilities, all of it at once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting import errors
from crediting.game.contributor import look

REPLICATE = "replicate"
"""The last column of a table may be called so."""
LARGEST = 1e100
"""Of utilities; their squares and the squares of those are still numbers."""
MOSTLY = 0.5
"""A column of which more than this share is 0 or 1 is hardly a property with other values."""


class Table(NamedTuple):
    """A table as it was written: its header, and each row's place in the file and cells."""

    header: list[str]
    rows: list[tuple[str, Sequence[Any]]]


def header_problems(table: Table, properties: Sequence[str] | None) -> list[str]:
    """Return what is wrong with the header, or that there are no rows."""
    header = table.header
    read = header if properties is None else header[:1]  # others without a name are not asked for
    problems = _nameless(read)
    looks = Counter(map(look, filter(None, header)))
    twice = sorted(name for name, count in looks.items() if count > 1)
    problems += [f"the column {name!r} is there more than once; rename one" for name in twice]
    problems += _misplaced_replicate(header, properties or ())
    if not table.rows:
        problems.append("there is no row that could be read; give one for every coalition")
    if properties is not None:
        problems += [
            f"there is no column {name!r}; there are {listed(header)}"
            for name in properties
            if name not in header
        ]
        if not properties:
            problems.append("no property is named; name at least one column")
    return problems


def _nameless(header: Sequence[str]) -> list[str]:
    return [
        f"column {place} has no name; give it one, or remove it (pandas: to_csv(..., index=False))"
        for place, name in enumerate(header, start=1)
        if not name
    ]


def _misplaced_replicate(header: Sequence[str], properties: Sequence[str]) -> list[str]:
    """Return that replicates would pass for a contributor or a property."""
    return [
        f"the column {name!r} tells the replicate only if it is called {REPLICATE!r} and comes "
        "last; move or rename it, or name the properties with game.properties=[...] if it is one"
        for place, name in enumerate(header)
        if name.lower() == REPLICATE
        and name not in properties
        and (name != REPLICATE or place != len(header) - 1)
    ]


def separator_problems(header: Sequence[str]) -> list[str]:
    """Return that columns are not separated by commas, if the header says so."""
    other = next(
        (mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None
    )
    return [f"expected columns separated by commas, got {other!r}; save it anew"] if other else []


def misread_columns(
    table: Table, numbers: NDArray[np.float64], measured: Sequence[int]
) -> list[str]:
    """Return columns, and cells, for which a contributor would pass for a property unnamed."""
    binary = np.isin(numbers, (0, 1))
    doubtful = [c for c in measured if MOSTLY < binary[:, c].mean() < 1]
    behind = [c for c in measured if binary[:, c].all() and measured[0] > 1]
    return [
        f"the column {table.header[column]!r} holds only 0 and 1, as those of contributors do, "
        "which come before all properties: move it there, or name all properties if it is one: "
        f"game.properties=[{table.header[column]},...]"
        for column in behind
    ] + [
        f"{table.rows[row][0]}, column {table.header[column]!r}: expected 0 or 1, as most of it "
        f"is, got {table.rows[row][1][column]!r}; if it is a property, name all that are: "
        f"game.properties=[{table.header[column]},...]"
        for column in doubtful
        for row in np.flatnonzero(~binary[:, column])
    ]


def cell_problems(
    table: Table, numbers: NDArray[np.float64], n_players: int, measured: Sequence[int]
) -> list[str]:
    """Return the cells that are not what they must be; `numbers` has NaN for what is none."""
    bad = np.zeros(numbers.shape, dtype=bool)
    bad[:, :n_players] = ~np.isin(numbers[:, :n_players], (0, 1))
    bad[:, measured] = ~np.isfinite(numbers[:, measured])
    return [
        f"{table.rows[row][0]}, column {table.header[column]!r}: expected "
        f"{'0 or 1' if column < n_players else 'a finite number'}, "
        f"got {table.rows[row][1][column]!r}"
        for row, column in np.argwhere(bad)
    ]


def magnitude_problems(
    header: Sequence[str], numbers: NDArray[np.float64], measured: Sequence[int]
) -> list[str]:
    """Return the properties whose squares are no numbers that a computer can tell from others."""
    largest = {column: float(np.abs(numbers[:, column]).max()) for column in measured}
    return [
        f"column {header[column]!r}: expected numbers up to between {1 / LARGEST:g} and "
        f"{LARGEST:g}, got {most:g}; choose another unit"
        for column, most in largest.items()
        if most and not 1 / LARGEST <= most <= LARGEST
    ]


def game_problems(
    header: Sequence[str], numbers: NDArray[np.float64], n_players: int, measured: Sequence[int]
) -> list[str]:
    """Return what a game lacks: contributors, all their names, a property, or one of its ends."""
    if n_players < 2:
        return [
            f"a game needs at least 2 contributors, got {n_players}: they are the first columns, "
            f"which hold only 0 and 1; the columns are {listed(header)}"
        ]
    taken = listed(header[:n_players])
    advice = f"taken for contributors are {taken}: name the properties if one is among them"
    if not measured:
        return [f"there is no property after the contributors; {advice}"]
    return _nameless(header[:n_players]) + [
        f"there is no row of the {coalition} coalition, {digit} for every contributor; {advice}"
        for digit, coalition in enumerate(("empty", "grand"))
        if not (numbers[:, :n_players] == digit).all(axis=1).any()
    ]


def listed(names: Sequence[str]) -> str:
    """Return names for a message, cut short if they are many."""
    return shorten(", ".join(map(repr, names)), 200, placeholder=" ...")


def refuse(path: Path, problems: Sequence[str]) -> None:
    """Raise DataError if there is a problem, with all of them."""
    errors.refuse(f"{path} holds no game as it is:", problems)
