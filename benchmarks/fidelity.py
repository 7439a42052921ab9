"""How well sparsified fine-tuning stands in for exact retraining on digits.

    python benchmarks/fidelity.py [--coalitions 30] [--size 5] [--quick] [override ...]

Draws coalitions that hold `size` of the ten contributors, evaluates each by both, and prints the
Spearman rank correlation of the two utilities with a bootstrap interval over the coalitions.
Coalitions of one size are used because size alone would explain much of the agreement. Overrides
as for `credit`, for instance finetuning.recipe.steps=200, apply to the fine-tuning only. --quick
runs a miniature of the same, in seconds, whose figures mean nothing.
"""

import argparse

import numpy as np
from hydra import compose, initialize_config_dir

from crediting import config
from crediting.agreement import bootstrap_interval, pearson, spearman
from crediting.game.coalition import CoalitionMatrix, distinct
from crediting.pipeline.encode import encode
from crediting.pipeline.estimate.stage import read_utilities
from crediting.pipeline.evaluate.stage import evaluate_coalitions
from crediting.pipeline.extract.stage import extract
from crediting.pipeline.prune import prune
from crediting.pipeline.study import Study
from crediting.pipeline.train import train

QUICK = [
    "model.training.steps=4",
    "plan.recovery_steps=2",
    "finetuning.recipe.steps=2",
    "extractor.reference_classifier.steps=20",
    "generation.images=8",
    "generation.steps=2",
    "executor=serial",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--coalitions", type=int, default=30)
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments, overrides = parser.parse_known_args()
    shared = QUICK if arguments.quick else []
    cheap = make_study([*shared, *overrides])
    exact = make_study([*shared, "pruning=none", "finetuning=retrain"])
    coalitions = draw(arguments.coalitions, len(cheap.partition), arguments.size)
    for study in (cheap, exact):
        for stage in (encode, train, prune, extract):
            stage(study)
        evaluate_coalitions(study, study.game, coalitions)
    print(f"{len(coalitions)} coalitions of {arguments.size} contributors")
    for name in cheap.properties:
        pair = [read_utilities(study, study.game, coalitions, name) for study in (cheap, exact)]
        low, high = bootstrap_interval(spearman, *pair, 0.95, 2000, 0)
        print(
            f"{name:16} Spearman {spearman(*pair):.3f} [{low:.3f}, {high:.3f}]  "
            f"Pearson {pearson(*pair):.3f}"
        )


def make_study(overrides: list[str]) -> Study:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        plain = config.resolve(compose("config", overrides))
    return Study.assemble(plain, config.build(plain))


def draw(count: int, n_players: int, size: int) -> CoalitionMatrix:
    """Return distinct coalitions (count, n_players) of one size."""
    rows = np.zeros((50 * count, n_players), dtype=bool)
    for index, row in enumerate(rows):
        row[np.random.default_rng([7, index]).permutation(n_players)[:size]] = True
    return distinct(rows)[:count]


if __name__ == "__main__":
    main()
