"""What lies around evaluating costs as contributors and coalitions grow: no model is trained.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--contributors 100] [--coalitions 100000]

Ledgers are temporary and filled directly with sums of weights plus noise. Every time stands beside
that of a reference in the same run; behind the time is that of the processor, which a busy machine
does not stretch as much. Reading 100,000 recorded rows must take under 2 seconds, and running
`credit` again on a finished study of 10,000 coalitions under 5 seconds more than importing what it
is made of, both of the processor. 1,000 contributors and 100,000 coalitions, the largest study
there is meant to be, take 7 GB and a few minutes.
"""

import argparse
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir
from table import row

from crediting import config
from crediting.game.coalition import CoalitionMatrix, coalition_keys
from crediting.ledger import Ledger
from crediting.pipeline import stages
from crediting.pipeline.address import GameSpec
from crediting.pipeline.estimate.stage import estimate, read_sample
from crediting.pipeline.evaluate.stage import evaluate
from crediting.pipeline.study import Study

NOISE = 0.1
QUICK = (
    "model.training.steps=2",
    "plan.recovery_steps=1",
    "plan.finetuning_steps=1",
    "generation.images=12",
    "generation.steps=2",
    "extractor.reference_classifier.steps=5",
    "property=[fid]",
    "executor=serial",
    "partition=by_shards",
    "partition.shards_per_contributor=1",
    "report.grid=4",
)
IMPORTS = (
    "import crediting.cli, crediting.pipeline.stages, crediting.datasets, crediting.models, "
    "crediting.extractors, crediting.properties, matplotlib.pyplot"
)
PREPARED = ("encode", "extract", "train", "prune")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--contributors", type=int, default=100)
    parser.add_argument("--coalitions", type=int, default=100_000)
    parser.add_argument("--resumed", type=int, default=10_000, help="coalitions; 0: leave it out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "large", asked.contributors, asked.coalitions)
        reading = time_stages(study)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{'memory at most':34} {memory:7.2f} GB")
        resuming = time_resume(Path(folder) / "resumed", asked.resumed) if asked.resumed else 0.0
    sys.exit(reading > 2e-5 * asked.coalitions or resuming > 5)


# ------------------------------------------------------------------------------ what is timed


def time_stages(study: Study) -> float:
    """Print what the parts of one study take; return the processor's seconds of reading it."""
    n_players, budget = len(study.partition), study.design.budget
    print(f"{n_players:,} contributors, {budget:,} coalitions")
    generator = np.random.default_rng(0)
    coins, tossing = timed(lambda: generator.integers(2, size=(budget, n_players), dtype=bool))
    sample, drawing = timed(lambda: study.design.sample(n_players))
    tell("design.sample", drawing, "as many fair coins", tossing)
    bytes_of_rows = timed(lambda: [row.tobytes() for row in coins])[1]
    keys, naming = timed(lambda: coalition_keys(sample.coalitions))
    tell("their keys", naming, "tobytes of every row", bytes_of_rows)

    path = fill(study, study.game, study.coalitions(study.game))
    select = "SELECT coalition, replicate, value FROM evaluations"
    with closing(sqlite3.connect(path)) as connection:
        _, plain = timed(lambda: connection.execute(select).fetchall())
    (of_property,) = study.property_fingerprints.values()
    with Ledger(path, study.game.address.fingerprint) as ledger:
        tasks, missing = timed(lambda: ledger.missing(keys, 1, study.property_fingerprints))
        values, reading = timed(lambda: ledger.values(keys, 1, of_property))
    assert not tasks
    tell("Ledger.missing", missing, "SELECT of the rows", plain)
    tell("Ledger.values", reading, "SELECT of the rows", plain)
    read, reading = timed(lambda: read_sample(study, *study.properties))
    tell("all that estimating reads", reading, "SELECT of the rows", plain)
    np.testing.assert_array_equal(read.utilities, values[:, 0])
    _, estimating = timed(lambda: estimate(study))
    _, algebra = timed(lambda: least_squares(sample.coalitions, values[:, 0]))
    tell(f"estimate, {study.estimator.name}", estimating, "least squares in numpy", algebra)
    _, nothing = timed(lambda: evaluate(study))
    tell("evaluate: nothing to do", nothing, "SELECT of the rows", plain)
    return reading.processor


def time_resume(outputs: Path, coalitions: int) -> float:
    """Print what `credit` takes on a finished study; return the processor's beyond importing."""
    study = make_study(outputs, 20, coalitions)
    for stage in PREPARED:
        stages.run(study, stage)
    fill(study, study.game, study.coalitions(study.game))
    command = [sys.executable, "-m", "crediting", *settings(outputs, 20, coalitions)]
    run(command)  # draws the images of the report
    _, again = timed(lambda: run(command))
    _, importing = timed(lambda: run([sys.executable, "-c", IMPORTS]))
    _, torch = timed(lambda: run([sys.executable, "-c", "import torch"]))
    label = f"credit again, {coalitions:,} coalitions"
    tell(label, again, "importing torch", torch)
    tell(label, again, "importing all of its parts", importing)
    return again.processor - importing.processor


def least_squares(coalitions: CoalitionMatrix, utilities: np.ndarray) -> np.ndarray:
    """Return coefficients of membership, (n,): the least that any regression has to do."""
    rows = coalitions.astype(np.float64)
    return np.linalg.solve(rows.T @ rows + np.eye(rows.shape[1]), rows.T @ utilities)


# ------------------------------------------------------------------------------ how


def make_study(outputs: Path, contributors: int, coalitions: int) -> Study:
    """Return the default study with so many contributors and coalitions."""
    config.register()
    words = settings(outputs, contributors, coalitions)
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        plain = config.resolve(compose("config", config.of_this_experiment(words)))
    return Study.assemble(plain, config.build(plain))


def settings(outputs: Path, contributors: int, coalitions: int) -> list[str]:
    """Return what the command line of that study sets."""
    return [
        *QUICK,
        f"partition.contributors={contributors}",
        f"design.budget={coalitions}",
        f"paths.outputs={outputs}",
    ]


def fill(study: Study, spec: GameSpec, coalitions: CoalitionMatrix) -> Path:
    """Record sums of weights plus noise for coalitions (m, n); return the file."""
    game = spec.address.fingerprint
    generator = np.random.default_rng(1)
    weights = generator.normal(size=len(study.partition))
    utilities = coalitions @ weights + NOISE * generator.normal(size=len(coalitions))
    rest = (0, 1.0, "synthetic", "{}", "2026-01-01T00:00:00+00:00")
    with Ledger.open(study.stored_in(spec.address), game, {"synthetic": True}) as ledger:
        path = ledger.path
    rows = (
        (game, key, 0, name, fingerprint, utility, *rest)
        for key, utility in zip(coalition_keys(coalitions), utilities.tolist(), strict=True)
        for name, fingerprint in study.property_fingerprints.items()
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            f"INSERT INTO evaluations VALUES ({', '.join('?' * 11)})",
            rows,
        )
    return path


def run(command: list[str]) -> None:
    """Run a command, its output unseen."""
    subprocess.run(command, check=True, capture_output=True)


class Spent(NamedTuple):
    """Seconds by the clock, and of the processor, other processes that were waited for included."""

    wall: float
    processor: float


def timed(work: Callable[[], Any]) -> tuple[Any, Spent]:
    """Return what some work returns, and what it took."""
    before = time.perf_counter(), processor()
    result = work()
    return result, Spent(time.perf_counter() - before[0], processor() - before[1])


def processor() -> float:
    """Return the seconds of the processor that this process has had, with those it waited for."""
    return sum(os.times()[:4])


def tell(what: str, spent: Spent, reference: str, of_reference: Spent) -> None:
    """Print what something took beside what the reference took."""
    row(
        what,
        f"{spent.wall:.2f} s ({spent.processor:.2f})",
        f"{of_reference.wall:.2f} s ({of_reference.processor:.2f}): {reference}",
        f"{spent.wall / of_reference.wall:.1f}",
    )


if __name__ == "__main__":
    main()
