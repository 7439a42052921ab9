"""A miniature study: the default one with so few steps that it takes seconds."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from composing import resolved

from crediting import config
from crediting.pipeline.study import Study

MINIATURE = (
    "partition=by_shards",
    "partition.contributors=4",
    "model.training.steps=6",
    "plan.recovery_steps=3",
    "plan.finetuning_steps=2",
    "plan.coalitions=6",
    "generation.images=12",
    "generation.steps=2",
    "extractor.reference_classifier.steps=20",
    "executor=serial",
    "report.grid=4",
)


def make_study(outputs: Path, *overrides: str, shared: Sequence[str] = MINIATURE) -> Study:
    plain = resolved(*shared, *overrides, outputs=outputs)
    return Study.assemble(plain, config.build(plain))


def read_ledgers(outputs: Path) -> dict:
    """Return every value recorded under a folder by its key."""
    values = {}
    for path in outputs.glob("store/game-*/ledger.sqlite"):
        connection = sqlite3.connect(path)
        for *key, value in connection.execute(
            "SELECT game, coalition, replicate, property, value FROM evaluations"
        ):
            values[tuple(key)] = value
        connection.close()
    return values
