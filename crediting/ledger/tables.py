"""The tables and rows of a ledger, and how its SQLite file is made, opened and complained of."""

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from crediting.errors import CreditingError, LedgerError
from crediting.files import atomic_write_text, exclusive_lock, replace_durably, temporary_beside
from crediting.ledger.fingerprint import as_plain

LEDGER_VERSION = 1
"""Version of the tables. Raise it when they change; older ledgers are then refused, not altered."""

KEY = "game, coalition, replicate, property_fingerprint"
"""The columns that identify an evaluation."""

_BUSY_SECONDS = 60

_IDENTITY = """
  game TEXT NOT NULL, coalition TEXT NOT NULL, replicate INTEGER NOT NULL,
  property TEXT NOT NULL, property_fingerprint TEXT NOT NULL"""
_PROVENANCE = """
  seed INTEGER NOT NULL, seconds REAL NOT NULL, device TEXT NOT NULL,
  versions TEXT NOT NULL, recorded_at TEXT NOT NULL"""
_TABLES = f"""
BEGIN;
CREATE TABLE meta (schema_version INTEGER NOT NULL, game TEXT NOT NULL);
CREATE TABLE evaluations ({_IDENTITY}, value REAL NOT NULL, {_PROVENANCE}, PRIMARY KEY ({KEY}));
CREATE TABLE disagreements (
  id INTEGER PRIMARY KEY AUTOINCREMENT, {_IDENTITY}, value REAL NOT NULL, {_PROVENANCE});
CREATE TABLE failures (
  id INTEGER PRIMARY KEY AUTOINCREMENT, {_IDENTITY}, traceback TEXT NOT NULL, {_PROVENANCE});
"""

_OF_THE_DISK = {
    sqlite3.SQLITE_FULL: "free some space",
    sqlite3.SQLITE_IOERR: "free some space, or mend the disk",
    sqlite3.SQLITE_READONLY: "make it and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "make it and its folder writable",
}
_OF_THE_FILE = {
    sqlite3.SQLITE_NOTADB: "It is not a ledger. Nothing was changed: move it away, together with "
    "its -journal file, or put back a copy of them, and run the same command again",
    sqlite3.SQLITE_CORRUPT: "It is damaged. Nothing was deleted: put back a copy, or move it away, "
    "together with its -journal file, to evaluate anew, and run the same command again",
    sqlite3.SQLITE_BUSY: f"Another process held it for {_BUSY_SECONDS} s. Nothing recorded is "
    "lost: run the same command again when that process is done",
}


class Failure(NamedTuple):
    """An evaluation that gave no value of a property, with the traceback that tells why."""

    coalition: str
    replicate: int
    property: str
    property_fingerprint: str
    traceback: str
    seed: int
    seconds: float
    device: str
    recorded_at: str


class Disagreement(NamedTuple):
    """A repeated evaluation whose value was not the one recorded first, which still counts."""

    coalition: str
    replicate: int
    property: str
    property_fingerprint: str
    first: float
    repeat: float
    first_device: str
    repeat_device: str
    recorded_at: str


def make_ledger(path: Path, description: Path, game: str, content: Mapping[str, Any]) -> None:
    """Make a ledger and its description where either is absent; one process at a time.

    Raises:
        LedgerError: as `describe_game`, or the ledger alone was moved away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path.parent / ".ledger.lock"):
        describe_game(description, game, content)
        if not path.exists():
            _refuse_remains(path)
            _create(path, game)


def _create(path: Path, game: str) -> None:
    """Make an empty ledger beside its place and move it there: it never lacks its tables."""
    temporary = temporary_beside(path)
    try:
        with (
            explained(path),
            closing(sqlite3.connect(temporary, isolation_level=None)) as connection,
        ):
            _make_tables(connection, game)
            connection.execute(f"PRAGMA user_version = {secrets.randbits(31)}")
            connection.execute("COMMIT")
        replace_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_tables(connection: sqlite3.Connection, game: str) -> None:
    connection.executescript(_TABLES)
    connection.execute("INSERT INTO meta VALUES (?, ?)", (LEDGER_VERSION, game))


def connect_to_nothing(game: str) -> sqlite3.Connection:
    """Return a connection to an empty ledger that is kept nowhere."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _make_tables(connection, game)
    return connection


def _refuse_remains(path: Path) -> None:
    """Raise LedgerError if a ledger left behind the log of what was written to it last.

    SQLite would take that for the log of the next ledger in its place.
    """
    log = path.with_name(f"{path.name}-journal")
    if log.exists():
        raise LedgerError(
            f"{path} was moved away, and {log.name} was not; move that to it, or away as well, and "
            "run the same command again"
        )


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a ledger that exists, whose commits survive a power cut.

    One in a folder that may only be read can be read.

    Raises:
        LedgerError: the file is absent, not a ledger, damaged, or of another version.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: there is no such ledger; evaluate coalitions first")
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    with explained(path):
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={'rw' if writable else 'ro'}",  # never made here
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
        )
        try:
            connection.execute("PRAGMA synchronous = EXTRA")
            _refuse_other_tables(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite that the user can mend into one about the file.

    Raises:
        LedgerError: the file cannot be used,
        CreditingError: or the disk that it lies on cannot, which says nothing of what it holds.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary one
        if code in _OF_THE_FILE:
            raise LedgerError(f"{path}: {error}. {_OF_THE_FILE[code]}") from error
        if code in _OF_THE_DISK:
            raise CreditingError(
                f"{path}: {error}; {_OF_THE_DISK[code]}. Nothing recorded so far is lost: run the "
                "same command again afterwards."
            ) from error
        raise


def describe_game(path: Path, game: str, content: Mapping[str, Any]) -> None:
    """Write what a game is made of beside its ledger, unless that was done.

    Raises:
        LedgerError: the file there is of another game.
    """
    if not path.exists():
        description = {"game": game, "content": as_plain(content)}
        atomic_write_text(path, json.dumps(description, indent=2))
        return
    found = None
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads(path.read_text())["game"]
    if found != game:
        raise other_game(path, found, game)


def other_game(path: Path, found: object, expected: str) -> LedgerError:
    """Return the complaint that a file is not of the game whose ledger is asked for."""
    return LedgerError(
        f"{path} belongs to the game {found}, expected {expected}. Nothing was changed: move the "
        f"folder {path.parent} away, or undo what was altered in it by hand, and run the same "
        "command again"
    )


def _refuse_other_tables(connection: sqlite3.Connection, path: Path) -> None:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchall()
    if not tables:
        raise LedgerError(f"{path}: it has no table 'meta'. {_OF_THE_FILE[sqlite3.SQLITE_NOTADB]}")
    versions = connection.execute("SELECT schema_version FROM meta").fetchall()
    if versions != [(LEDGER_VERSION,)]:
        found = ", ".join(str(version) for (version,) in versions) or "none"
        raise LedgerError(
            f"{path} is a ledger of version {found}, expected {LEDGER_VERSION}. Nothing was "
            "changed: use the release of crediting that wrote it, or move it away to evaluate anew"
        )
