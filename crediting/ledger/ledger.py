"""The ledger: a durable record of evaluations, the only link between evaluating and estimating."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crediting.interfaces import Outcome, Task
from crediting.ledger.store import versions
from crediting.ledger.tables import (
    KEY,
    Disagreement,
    Failure,
    connect,
    describe_game,
    explained,
    make_ledger,
    other_game,
)

_FILE = "ledger.sqlite"
_GAME_FILE = "game.json"

_FEW = 500
"""Coalitions that are looked up one by one; to read all rows is faster for more."""


class Ledger:
    """The evaluations of one game; several processes may read and write at once.

    What `record` has returned from survives a killed process and a power cut. The constructor opens
    a file that exists; `open` makes one if need be.

    Raises:
        LedgerError: the file is absent, damaged, of another version or of another game.
    """

    def __init__(self, path: Path, game: str) -> None:
        self.path = Path(path)
        self.game = game
        self._connection = connect(self.path)
        ((found,),) = self._query("SELECT game FROM meta")
        if found != game:
            self.close()
            raise other_game(self.path, found, game)

    @classmethod
    def open(cls, folder: Path, game: str, content: Mapping[str, Any]) -> "Ledger":
        """Return the ledger of a folder, made if absent, with its `game.json` beside it.

        `content` is the resolved config behind the fingerprint `game`, in plain data.

        Raises:
            LedgerError: the ledger there is damaged, of another version or of another game.
        """
        path, description = Path(folder) / _FILE, Path(folder) / _GAME_FILE
        if path.exists() and description.exists():  # needs no lock, hence no permission to write
            describe_game(description, game, content)
        else:
            make_ledger(path, description, game, content)
        return cls(path, game)

    @classmethod
    def peek(cls, folder: Path, game: str) -> "Ledger | None":
        """Return the ledger of a folder, or None where there is none; nothing is made.

        Raises:
            LedgerError: the ledger there is damaged, of another version or of another game.
        """
        path = Path(folder) / _FILE
        return cls(path, game) if path.exists() else None

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------ writing

    def record(self, outcome: Outcome, property_fingerprints: Mapping[str, str]) -> None:
        """Write all values and failures of an outcome, or none; return once they are durable.

        The first value of a key stays. A repeat that differs is kept among the disagreements.
        Values that are not finite are failures. A failure of "" (no images at all) is written for
        every property of the task. Signed zeros are one value, as in SQLite.
        """
        common = self._common_columns(outcome)
        with self._transaction():
            for name, value in outcome.values.items():
                row = common | _property_columns(name, property_fingerprints)
                if math.isfinite(value):
                    self._record_value(row | {"value": float(value)})
                else:
                    problem = f"{name} came out as {value}, which is not a utility"
                    self._insert("failures", row | {"traceback": problem})
            for name, traceback in _failures_by_property(outcome):
                row = common | _property_columns(name, property_fingerprints)
                self._insert("failures", row | {"traceback": traceback})

    def _record_value(self, row: dict[str, Any]) -> None:
        if self._insert("evaluations", row, f"ON CONFLICT ({KEY}) DO NOTHING"):
            return
        ((first,),) = self._connection.execute(
            "SELECT value FROM evaluations WHERE game = :game AND coalition = :coalition"
            " AND replicate = :replicate AND property_fingerprint = :property_fingerprint",
            row,
        )
        if first != row["value"]:
            self._insert("disagreements", row)

    def _insert(self, table: str, row: Mapping[str, Any], conflict: str = "") -> bool:
        names = ", ".join(row)
        places = ", ".join(f":{name}" for name in row)
        sql = f"INSERT INTO {table} ({names}) VALUES ({places}) {conflict}"
        return self._connection.execute(sql, row).rowcount == 1

    def _common_columns(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "game": self.game,
            "coalition": outcome.task.coalition,
            "replicate": int(outcome.task.replicate),
            "seed": int(outcome.seed),
            "seconds": float(outcome.seconds),
            "device": outcome.device,
            "versions": json.dumps(versions()),
            "recorded_at": datetime.now(UTC).isoformat(),
        }

    # ------------------------------------------------------------------------------ reading

    def missing(
        self, coalitions: Sequence[str], replicates: int, property_fingerprints: Mapping[str, str]
    ) -> list[Task]:
        """Return a task for each coalition key and replicate that lacks a value of a property.

        Tasks are in the order of the keys, each key once, replicates 0 .. replicates - 1 within.
        """
        wanted = list(property_fingerprints.values())
        recorded = set(
            self._query(
                "SELECT coalition, replicate, property_fingerprint FROM evaluations WHERE game = ?"
                f" AND property_fingerprint IN ({', '.join('?' * len(wanted))})",
                self.game,
                *wanted,
            )
        )
        tasks = []
        for coalition in dict.fromkeys(coalitions):
            for replicate in range(replicates):
                absent = tuple(
                    name
                    for name, fingerprint in property_fingerprints.items()
                    if (coalition, replicate, fingerprint) not in recorded
                )
                if absent:
                    tasks.append(Task(coalition, replicate, absent))
        return tasks

    def values(
        self, coalitions: Sequence[str], replicates: int, property_fingerprint: str
    ) -> NDArray[np.float64]:
        """Return the values of a property, (m, replicates), in the order of the keys.

        What is not recorded is NaN; a key may occur several times.
        """
        place = {key: index for index, key in enumerate(dict.fromkeys(coalitions))}
        few = tuple(place) if len(place) <= _FEW else ()
        # by way of the index every row is looked up elsewhere, thrice the time of a plain scan
        how = f"WHERE coalition IN ({', '.join('?' * len(few))})" if few else "NOT INDEXED WHERE 1"
        rows = self._query(
            f"SELECT coalition, replicate, value FROM evaluations {how}"
            " AND game = ? AND property_fingerprint = ? AND replicate < ?",
            *few,
            self.game,
            property_fingerprint,
            replicates,
        )
        table = np.full((len(place), replicates), np.nan)
        for coalition, replicate, value in rows:
            if coalition in place:
                table[place[coalition], replicate] = value
        return table[[place[key] for key in coalitions]]

    def coalitions(self) -> list[str]:
        """Return the keys of all coalitions that have any value, sorted."""
        rows = self._query("SELECT DISTINCT coalition FROM evaluations WHERE game = ?", self.game)
        return sorted(key for (key,) in rows)

    def devices(self) -> list[str]:
        """Return on what devices, and with what precision, was evaluated, sorted."""
        rows = self._query("SELECT DISTINCT device FROM evaluations WHERE game = ?", self.game)
        return sorted(device for (device,) in rows)

    @property
    def birth(self) -> int:
        """A random number drawn when the file was made: of another one, another."""
        ((number,),) = self._query("PRAGMA user_version")
        return number

    def mean_seconds(self) -> float | None:
        """Return the mean seconds of evaluating a coalition, or None without any."""
        known = [seconds for _, seconds in self.durations()]
        return math.fsum(known) / len(known) if known else None

    def durations(self) -> list[tuple[str, float]]:
        """Return the coalition and the seconds of every evaluation, replicates by themselves.

        A later measurement of another property from kept images does not count: it is shorter.
        """
        return self._query(
            "SELECT coalition, MAX(seconds) FROM evaluations WHERE game = ?"
            " GROUP BY coalition, replicate",
            self.game,
        )

    def seconds(
        self, coalitions: Sequence[str], replicates: int, measured: Mapping[str, str] | None
    ) -> float:
        """Return the seconds that evaluating these keys took, each once, for measured properties.

        Of the properties of a coalition, measured together or later on kept images, the longest
        counts. None stands for all that were ever measured: what the images took, too. With given
        ones, what was recorded once gives the same sum ever after, as values are never replaced.
        """
        wanted = [] if measured is None else list(measured.values())
        among = f" AND property_fingerprint IN ({', '.join('?' * len(wanted))})" if wanted else ""
        longest = self._query(
            "SELECT coalition, MAX(seconds) FROM evaluations WHERE game = ? AND replicate < ?"
            f"{among} GROUP BY coalition, replicate",
            self.game,
            replicates,
            *wanted,
        )
        asked = set(coalitions)
        return math.fsum(seconds for coalition, seconds in longest if coalition in asked)

    def failures(self) -> list[Failure]:
        """Return the latest failure of each key that has no value, oldest first."""
        rows = self._query(
            f"SELECT {', '.join(f'failures.{name}' for name in Failure._fields)} FROM failures"
            f" LEFT JOIN evaluations USING ({KEY})"
            f" WHERE failures.id IN (SELECT MAX(id) FROM failures WHERE game = ? GROUP BY {KEY})"
            " AND evaluations.value IS NULL ORDER BY failures.id",
            self.game,
        )
        return [Failure(*row) for row in rows]

    def disagreements(self) -> list[Disagreement]:
        """Return every repeat that differed from the first record, oldest first."""
        rows = self._query(
            "SELECT repeat.coalition, repeat.replicate, repeat.property,"
            " repeat.property_fingerprint, first.value, repeat.value, first.device, repeat.device,"
            " repeat.recorded_at"
            f" FROM disagreements AS repeat JOIN evaluations AS first USING ({KEY})"
            " WHERE repeat.game = ? ORDER BY repeat.id",
            self.game,
        )
        return [Disagreement(*row) for row in rows]

    # ------------------------------------------------------------------------------ SQLite

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with explained(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def _query(self, sql: str, *parameters: object) -> list[tuple]:
        with explained(self.path):
            return self._connection.execute(sql, parameters).fetchall()


def _property_columns(name: str, property_fingerprints: Mapping[str, str]) -> dict[str, str]:
    return {"property": name, "property_fingerprint": property_fingerprints[name]}


def _failures_by_property(outcome: Outcome) -> Iterator[tuple[str, str]]:
    for name, traceback in outcome.failures.items():
        if name:
            yield name, traceback
        else:
            for spoilt in outcome.task.properties:
                yield spoilt, traceback
