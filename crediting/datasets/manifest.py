"""Tables that say what is known of each image: CSV, JSON lines or Parquet, all read as text."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from crediting.datasets.problems import nearest, shown

Record = tuple[int, dict[str, object]]
"""The line (or row, from 1) that a record stands on, and its cells by column."""


class Line(NamedTuple):
    """One record: where it stands, for messages, and its cells by column; empty ones are ""."""

    where: str
    cells: dict[str, str]


class _UnreadableError(Exception):
    pass


def read_manifest(
    file: Path, required: Sequence[str], filled: Sequence[str]
) -> tuple[list[Line], list[str]]:
    """Return the records of a table in their order, and everything that is wrong with it.

    Numbers become text as Python prints them; records with a problem are left out.

    Args:
        file: ending in one of MANIFEST_ENDINGS.
        required: columns that must be there, with a value in every record.
        filled: columns that, if they are there, must have a value in every record; others that
            are called almost so (Captions) are problems.
    """
    problems: list[str] = []
    try:
        records = _READERS[file.suffix.lower()](file, problems)
    except (OSError, UnicodeDecodeError, csv.Error, _UnreadableError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        advice = ""
        if isinstance(error, UnicodeDecodeError):
            advice = "; save it as UTF-8, which Excel calls CSV UTF-8"
        return [], [f"{shown(file)}: cannot be read ({reason}){advice}"]
    columns = list(dict.fromkeys(column for _, record in records for column in record))
    missing = [column for column in required if column not in columns]
    if records and missing:
        others = [column for column in columns if column not in required]
        problems += [
            f"{shown(file)}: there is no column {column!r}; {nearest(column, others)}"
            for column in missing
        ]
        return [], problems
    problems += [
        f"{shown(file)}: the column {column!r} would not be read; call it {meant!r}"
        for column in columns
        for meant in filled
        if meant not in columns and column.strip().lower().removesuffix("s") == meant
    ]
    never_empty = [column for column in (*required, *filled) if column in columns]
    lines = []
    for number, record in records:
        line = Line(f"{shown(file)} line {number}", {c: _text(record.get(c)) for c in columns})
        empty = [column for column in never_empty if not line.cells[column].strip()]
        nested = [c for c in columns if isinstance(record.get(c), list | dict | bytes)]
        problems += [f"{line.where}: the column {column!r} is empty" for column in empty]
        problems += [f"{line.where}: {column!r} must be text or a number" for column in nested]
        if not empty and not nested:
            lines.append(line)
    if not records and not problems:
        problems.append(f"{shown(file)}: there is no record in it")
    return lines, problems


def _text(value: object) -> str:
    is_nan = isinstance(value, float) and value != value
    return "" if value is None or is_nan else str(value)


def _read_csv(file: Path, problems: list[str]) -> list[Record]:
    records: list[Record] = []
    with file.open(encoding="utf-8-sig", newline="") as stream:  # spreadsheets write a mark first
        reader = csv.reader(stream, strict=True)
        header = next(reader, [])
        if len(header) == 1 and (marks := [mark for mark in ";\t|" if mark in header[0]]):
            raise _UnreadableError(
                f"expected columns separated by commas, got {marks[0]!r}; save it anew"
            )
        twice = sorted({column for column in header if header.count(column) > 1})
        if twice:
            raise _UnreadableError(f"columns of the same name: {twice}")
        for cells in reader:
            if len(cells) == len(header):
                records.append((reader.line_num, dict(zip(header, cells, strict=True))))
            elif cells:
                problems.append(
                    f"{shown(file)} line {reader.line_num}: expected {len(header)} cells as in the "
                    f"first line, got {len(cells)}; put cells that hold a comma in quotes"
                )
    return records


def _read_json_lines(file: Path, problems: list[str]) -> list[Record]:
    records: list[Record] = []
    with file.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                problems.append(f"{shown(file)} line {number}: is no JSON ({error})")
                continue
            if isinstance(record, dict):
                records.append((number, record))
            else:
                problems.append(f'{shown(file)} line {number}: expected {{"column": value, ...}}')
    return records


def _read_parquet(file: Path, problems: list[str]) -> list[Record]:
    del problems  # a Parquet file is read as a whole or not at all
    import pyarrow
    from pyarrow import parquet

    try:
        return list(enumerate(parquet.read_table(file).to_pylist(), start=1))
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # such as dates of no year
        raise _UnreadableError(error) from error


_READERS: dict[str, Callable[[Path, list[str]], list[Record]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
MANIFEST_ENDINGS = tuple(_READERS)
