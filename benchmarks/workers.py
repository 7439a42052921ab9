"""How much faster two workers evaluate than one, on the same coalitions of the default study.

    python benchmarks/workers.py [--coalitions 60]

The model is prepared once; then the same coalitions are evaluated from an empty ledger by one
worker and by two, start-up of the workers included, and the two ledgers are compared value by
value. Needs two idle cores; must be at least 1.6.
"""

import argparse
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--coalitions", type=int, default=60)
    budget = f"design.budget={parser.parse_args().coalitions}"
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        for stage in ("encode", "train", "prune", "extract"):
            credit(prepared, f"stage={stage}", budget)
        seconds, values = {}, {}
        for workers in (1, 2):
            outputs = Path(folder) / f"workers-{workers}"
            shutil.copytree(prepared, outputs)
            started = time.perf_counter()
            credit(outputs, "stage=evaluate", budget, f"executor.workers={workers}")
            seconds[workers] = time.perf_counter() - started
            values[workers] = read_values(outputs)
    ratio = seconds[1] / seconds[2]
    print(f"{len(values[1])} values, equal: {values[1] == values[2]}")
    row(
        "two workers, start included",
        f"{seconds[2]:.1f} s",
        f"{seconds[1]:.1f} s: one worker",
        f"{ratio:.2f} times as fast",
    )
    sys.exit(ratio < 1.6 or values[1] != values[2])


def credit(outputs: Path, *overrides: str) -> None:
    command = [sys.executable, "-m", "crediting", f"paths.outputs={outputs}", *overrides]
    # training beforehand may be short: the time of a coalition does not depend on it
    subprocess.run([*command, "model.training.steps=50", "pruning.recovery.steps=50"], check=True)


def read_values(outputs: Path) -> dict[tuple[str, str], float]:
    """Return every recorded value by coalition and property."""
    (path,) = outputs.glob("store/game-*/ledger.sqlite")
    rows = sqlite3.connect(path).execute("SELECT coalition, property, value FROM evaluations")
    return {(coalition, name): value for coalition, name, value in rows}


if __name__ == "__main__":
    main()
