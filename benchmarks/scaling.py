"""How much faster two nodes of a Ray cluster evaluate than one, on the same coalitions.

    python benchmarks/scaling.py [--coalitions 60]

The default study is prepared once. Then a cluster of two nodes of one CPU each is started on this
machine, and the same coalitions are evaluated from an empty ledger by one worker and by two; the
two ledgers are compared value by value. The ratio is told with the start-up of the command and its
workers, and without: from when every worker has made its first coalition until the last is made.
Needs two idle cores and `pip install "crediting[ray]"`; must be at least 1.7 without start-up.
"""

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from table import row
from workers import credit, read_values

LEAST = 1.7


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--coalitions", type=int, default=60)
    budget = f"design.budget={parser.parse_args().coalitions}"
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        for stage in ("encode", "train", "prune", "extract"):
            credit(prepared, f"stage={stage}", budget, "runtime.device=cpu")
        whole, steady, values = {}, {}, {}
        with two_nodes() as address:
            for workers in (1, 2):
                outputs = Path(folder) / f"workers-{workers}"
                shutil.copytree(prepared, outputs)
                started = time.perf_counter()
                credit(outputs, "stage=evaluate", budget, *on_ray(address, workers))
                whole[workers] = time.perf_counter() - started
                steady[workers] = seconds_each(outputs, workers)
                values[workers] = read_values(outputs)
    gained, ratio = whole[1] / whole[2], steady[1] / steady[2]
    print(f"{len(values[1])} values, equal: {values[1] == values[2]}")
    for what, taken, times in (
        ("two nodes on Ray, start included", whole, gained),
        ("two nodes on Ray, per coalition", steady, ratio),
    ):
        row(
            what,
            f"{taken[2]:.2f} s",
            f"{taken[1]:.2f} s: one worker",
            f"{times:.2f} times as fast",
        )
    sys.exit(ratio < LEAST or values[1] != values[2])


@contextmanager
def two_nodes() -> Iterator[str]:
    """Yield the address of a cluster of two nodes of one CPU each, beside a head without any."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def on_ray(address: str, workers: int) -> list[str]:
    return [
        "runtime.device=cpu",
        "executor=ray",
        f"executor.address={address}",
        f"executor.workers={workers}",
    ]


def seconds_each(outputs: Path, workers: int) -> float:
    """Return the seconds between coalitions once each worker has made one, by the ledger."""
    (path,) = outputs.glob("store/game-*/ledger.sqlite")
    rows = sqlite3.connect(path).execute(
        "SELECT MIN(recorded_at) FROM evaluations GROUP BY coalition, replicate ORDER BY 1"
    )
    times = [datetime.fromisoformat(moment).timestamp() for (moment,) in rows]
    return (times[-1] - times[workers - 1]) / (len(times) - workers)


if __name__ == "__main__":
    main()
