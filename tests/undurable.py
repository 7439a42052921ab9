"""Nothing waits for the disk: a kill loses nothing that was written, and no power cut is tested.

A commit of a ledger waits for it four times, some ten milliseconds in all.
"""

import os
from collections.abc import Callable

from crediting.ledger import ledger, tables

_connect = ledger.connect


def _connect_undurably(path):
    connection = _connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def spare_the_disk(setattr: Callable[[object, str, object], None]) -> None:
    """Replace what waits, by `setattr` or what undoes it in the end."""
    setattr(ledger, "connect", _connect_undurably)
    setattr(tables, "_TABLES", f"PRAGMA synchronous = OFF;{tables._TABLES}")
    setattr(os, "fsync", lambda descriptor: None)
