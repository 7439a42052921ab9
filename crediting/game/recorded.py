"""Games that were played before: utilities of coalitions read from a table, CSV or Parquet.

The table has one column per contributor, 1 where it takes part and 0 where it does not, then one
column per property; a row is a coalition. The empty and the grand coalition must be among them. A
last column `replicate` tells which evaluations of different coalitions belong together.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crediting.errors import DataError
from crediting.game.coalition import CoalitionMatrix, coalition_from_key, coalition_keys
from crediting.game.contributor import as_stored
from crediting.game.game import Game
from crediting.game.noise import Noise, noise_of_means
from crediting.game.table_problems import (
    MOSTLY,
    REPLICATE,
    Table,
    cell_problems,
    game_problems,
    header_problems,
    listed,
    magnitude_problems,
    misread_columns,
    refuse,
    separator_problems,
)

_TRUTHS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class RecordedGame:
    """What coalitions were worth, by property and then by `coalition_key`.

    Every property has the same coalitions, the empty and the grand one among them.
    """

    source: Path
    names: tuple[str, ...]
    """The contributors in player order."""
    utilities: Mapping[str, Mapping[str, float]]
    """Means over the rows of a coalition."""
    noises: Mapping[str, Noise]
    """Of such means, by property; unmeasured if no coalition is on two rows."""
    n_rows: int

    @property
    def n_players(self) -> int:
        """Number of contributors n."""
        return len(self.names)

    @property
    def properties(self) -> tuple[str, ...]:
        """The names of the properties, in the order of their columns."""
        return tuple(self.utilities)

    @property
    def coalitions(self) -> CoalitionMatrix:
        """The recorded coalitions without repeats, (m, n), in the order of the table."""
        return np.stack([coalition_from_key(key) for key in self.utilities[self.properties[0]]])

    @property
    def n_coalitions(self) -> int:
        """Number of different coalitions that are recorded."""
        return len(self.utilities[self.properties[0]])

    @property
    def is_complete(self) -> bool:
        """Whether all 2^n coalitions are recorded, as exact Shapley values need them."""
        return self.n_coalitions == 2**self.n_players

    def of(self, name: str) -> Game:
        """Return the game for one property: coalitions (m, n) -> utilities (m,).

        That game raises a DataError for a coalition that is not recorded.

        Raises:
            DataError: no such property is recorded.
        """
        if name not in self.utilities:
            raise DataError(
                f"{self.source}: expected a property, one of {', '.join(self.properties)}, "
                f"got {name!r}; choose one of these"
            )
        return partial(self._look_up, name)

    def _look_up(self, name: str, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        recorded = self.utilities[name]
        keys = coalition_keys(coalitions)
        missing = [key for key in keys if key not in recorded]
        if missing:
            first = coalition_from_key(missing[0])
            members = [self.names[player] for player in np.flatnonzero(first)]
            raise DataError(
                f"{self.source}: {len(missing)} of {len(keys)} coalitions that were asked for are "
                f"not recorded, the first is {missing[0]} of {listed(members)}; "
                "add them to the table, or ask for recorded ones only"
            )
        return np.array([recorded[key] for key in keys], dtype=np.float64)


def read_recorded(path: Path, properties: Sequence[str] | None) -> RecordedGame:
    """Return the game that a table holds.

    Several rows of a coalition are replicates: it has their mean utility, and how far they are
    apart tells how noisy such a mean is (see `noise_of_means`); which of them shared their random
    numbers with those of other coalitions is in the last column, if that is called `replicate`.

    With `properties` None, the contributors are the leading columns that hold only 0 and 1, up to
    the first other column, and all columns from there on are properties. So a first property that
    holds only 0 and 1 passes for a contributor; a later column that mostly does is refused, as it
    may be a contributor, out of place or with a slip. Naming the properties rules out both: then
    the contributors are the leading columns that are mostly 0 and 1, up to the first one named, and
    must be so everywhere; what is not named is ignored.

    Args:
        path: ending in .csv (UTF-8, commas, a header) or .parquet.
        properties: the columns that are properties, or None.

    Raises:
        DataError: naming the file and all that is wrong with it, by line.
    """
    path = Path(path)
    table, problems = _read_table(path)
    refuse(path, separator_problems(table.header))
    if properties is not None:
        properties = as_stored(properties, table.header)
    unusable = header_problems(table, properties)
    refuse(path, [*unusable, *problems] if unusable else [])
    numbers = np.array([[_number(cell) for cell in cells] for _, cells in table.rows])
    replicates = _replicates(table, properties)
    n_players, measured = _columns(table.header, numbers, properties, replicates is not None)
    if properties is None:
        misread = misread_columns(table, numbers, measured)
        refuse(path, [*misread, *problems] if misread else [])
    problems += cell_problems(table, numbers, n_players, measured)
    problems += game_problems(table.header, numbers, n_players, measured)
    refuse(path, problems or magnitude_problems(table.header, numbers, measured))
    keys = coalition_keys(numbers[:, :n_players] == 1)
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    coalitions = np.array([places[key] for key in keys])
    evaluations = {table.header[column]: numbers[:, column] for column in measured}
    return RecordedGame(
        path,
        tuple(table.header[:n_players]),
        {name: _means(places, coalitions, values) for name, values in evaluations.items()},
        {
            name: noise_of_means(values, coalitions, replicates)
            for name, values in evaluations.items()
        },
        len(table.rows),
    )


def _columns(
    header: Sequence[str],
    numbers: NDArray[np.float64],
    properties: Sequence[str] | None,
    last_is_replicate: bool,
) -> tuple[int, list[int]]:
    """Return how many columns are contributors, and which columns are properties."""
    binary = np.isin(numbers, (0, 1)).mean(axis=0)
    if properties is None:
        end = len(header) - last_is_replicate
        n_players = int(np.append(binary[:end] == 1, False).argmin())
        return n_players, list(range(n_players, end))
    measured = [header.index(name) for name in properties]
    return int(np.append(binary[: min(measured)] > MOSTLY, False).argmin()), measured


def _replicates(table: Table, properties: Sequence[str] | None) -> NDArray[np.int64] | None:
    """Return which replicate every row is, (k,), if the table tells."""
    if table.header[-1] != REPLICATE or (properties and REPLICATE in properties):
        return None
    told = [str(cells[-1]).strip() for _, cells in table.rows]
    return np.unique(told, return_inverse=True)[1].astype(np.int64)


def _means(
    keys: Iterable[str], coalitions: NDArray[np.int64], values: NDArray[np.float64]
) -> dict[str, float]:
    means = np.bincount(coalitions, weights=values) / np.bincount(coalitions)
    return dict(zip(keys, means.tolist(), strict=True))


# ------------------------------------------------------------------------------ files


def _read_table(path: Path) -> tuple[Table, list[str]]:
    """Return the rows that have as many cells as the header, and what is wrong with the others."""
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: expected a file ending in {' or '.join(readers)}; convert it")
    try:
        return readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: cannot be read ({error}); save it as UTF-8, which Excel calls CSV UTF-8"
        ) from error
    except (OSError, ValueError, csv.Error) as error:  # Arrow's are among the first two
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as {path.suffix} ({reason})") from error


def _read_csv(path: Path) -> tuple[Table, list[str]]:
    table, problems = Table([], []), []
    with path.open(encoding="utf-8-sig", newline="") as stream:  # spreadsheets write a mark first
        reader = csv.reader(stream, strict=True)
        table.header.extend(name.strip() for name in next(reader, []))
        for cells in reader:
            place = f"line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue  # spreadsheets leave empty rows behind
            if len(cells) == len(table.header):
                table.rows.append((place, cells))
            else:
                expected = f"{len(table.header)} cells as in the header"
                problems.append(f"{place}: expected {expected}, got {len(cells)}")
    return table, problems


def _read_parquet(path: Path) -> tuple[Table, list[str]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return Table(table.column_names, [(f"row {i}", row) for i, row in enumerate(rows, 1)]), []


def _number(cell: Any) -> float:
    """Return the number in a cell; true and false, as data frames write them, are 1 and 0."""
    if isinstance(cell, str) and cell.strip().lower() in _TRUTHS:
        return _TRUTHS[cell.strip().lower()]
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")
