"""Processes that write while the tests watch or kill them: `writers_for_tests.py <what> ...`."""

import os
import sqlite3
import sys
import time
from pathlib import Path

from crediting.interfaces import Outcome, Task
from crediting.ledger import Ledger, Store, fingerprint

GAME = fingerprint("game", {"budget": 1})
SCORE = {"score": "score-fingerprint"}


def outcome(coalition: str, value: float, replicate: int = 0, **changes) -> Outcome:
    task = Task(coalition, replicate, ("score",))
    rest = {"failures": {}, "seed": 7, "seconds": 2.0, "device": "cpu"} | changes
    return Outcome(task, {"score": value}, **rest)


def count_of(ledger: Ledger) -> int:
    """Return how many values are recorded, over all properties."""
    with sqlite3.connect(ledger.path) as connection:
        ((count,),) = connection.execute("SELECT COUNT(*) FROM evaluations").fetchall()
    connection.close()
    return count


def write_ledger(folder: str, writer: str, count: str) -> None:
    """Record `count` coalitions with the writer's own value, saying each that is recorded."""
    with Ledger.open(Path(folder), GAME, {"budget": 1}) as ledger:
        for number in range(int(count)):
            ledger.record(outcome(str(number), float(writer)), SCORE)
            print(number, flush=True)


def produce(root: str, seconds: str) -> None:
    """Make an artifact slowly, unless it is there; say what happened and when."""
    content = {"slow": True}
    address = fingerprint("model", content)
    with Store(Path(root)).producing("model", address, content) as production:
        if production.already_complete:
            print("found", flush=True)
            return
        print("making", flush=True)
        (production.folder / "weights.bin").write_bytes(str(os.getpid()).encode())
        (production.folder / "checkpoint").mkdir(exist_ok=True)
        (production.folder / "checkpoint" / "step").write_text("10")
        time.sleep(float(seconds))
        production.complete({})
        print("made", flush=True)


if __name__ == "__main__":
    {"ledger": write_ledger, "produce": produce}[sys.argv[1]](*sys.argv[2:])
