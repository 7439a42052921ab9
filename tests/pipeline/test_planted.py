"""Contributors of whom it is known what they deserve get it: as recorded in full, and for real.

benchmarks/estimators/planted_game.csv is what `credit +experiment=digits_planted stage=export`
wrote: all 64 coalitions, a row for each of four replicates.
"""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from miniature_study import make_study
from scipy.stats import ttest_1samp

from crediting.datasets.digits_planted import HOLDERS, NOISE
from crediting.estimators import Exact
from crediting.game.axioms import findings
from crediting.game.coalition import all_coalitions
from crediting.game.enumeration import shapley_values
from crediting.game.game import Sample, play
from crediting.game.recorded import read_recorded
from crediting.pipeline import stages
from crediting.pipeline.estimate.stage import estimate

GAMES = Path(__file__).parents[2] / "benchmarks/estimators"
IMPROVES = {"fid": -1, "inception_score": 1, "diversity": 1}
EVERYBODY = Sample(all_coalitions(6), np.full(64, -6 * math.log(2)))

planted = read_recorded(GAMES / "planted_game.csv", None)


def attributed(name):
    sample = play(planted.of(name), EVERYBODY, planted.noises[name].variance)
    return sample, Exact(0.95)(sample)


def credits_of_replicates(name):
    """Return the credits from each replicate alone, (4, 6)."""
    with planted.source.open() as file:
        rows = list(csv.DictReader(file))
    row_of = {}
    for row in rows:  # the replicates of a coalition go by their number
        row_of.setdefault(tuple(int(row[player]) for player in planted.names), []).append(row)
    games = [
        [float(row[name]) for row in row_of[tuple(map(int, members))]]
        for members in EVERYBODY.coalitions
    ]
    return np.array([shapley_values(utilities) for utilities in np.array(games).T])


def merits(name):
    """Return the credit of each contributor, positive where it improves the property."""
    credits = IMPROVES[name] * attributed(name)[1].credits
    return dict(zip(planted.names, credits.tolist(), strict=True))


def gains(name, player, present):
    """Return by how much a player improves each coalition that holds all of some others."""
    utilities = IMPROVES[name] * planted.of(name)(EVERYBODY.coalitions)
    place = planted.names.index(player)
    others = [planted.names.index(other) for other in present]
    held = EVERYBODY.coalitions[:, others].all(axis=1) & ~EVERYBODY.coalitions[:, place]
    without = np.flatnonzero(held)
    return utilities[without + 2**place] - utilities[without]


# ------------------------------------------------------------------------------ as recorded


def test_the_recorded_game_is_that_of_the_experiment(resolved):
    assert set(planted.names) == {*HOLDERS, NOISE}
    assert set(planted.properties) == set(IMPROVES)
    assert planted.is_complete
    assert resolved("+experiment=digits_planted")["replicates"] == 4


@pytest.mark.parametrize("name", ["fid", "inception_score", "diversity"])
def test_the_order_of_credits_is_the_planted_one(name):
    merit = merits(name)
    best, second, *others, worst = sorted(merit, key=merit.get, reverse=True)
    assert (best, second, worst) == ("unique", "plain", "noise")
    assert set(others) == {"original", "copy", "nothing_new"}
    assert merit["noise"] < 0


@pytest.mark.parametrize("name", ["fid", "inception_score"])
def test_the_order_is_no_accident_of_noise(name):
    """Whoever is ranked by a clear margin: five standard errors of a difference."""
    merit = merits(name)
    error = math.sqrt(2) * attributed(name)[1].noise_errors[0]
    middle = [merit["original"], merit["copy"], merit["nothing_new"]]
    assert merit["unique"] - merit["plain"] > 5 * error
    assert merit["plain"] - max(middle) > 5 * error
    assert min(middle) - merit["noise"] > 5 * error


@pytest.mark.parametrize("name", ["fid", "inception_score", "diversity"])
def test_the_axioms_hold(name):
    sample, attribution = attributed(name)
    told = findings(sample, attribution, planted.names, [["original", "copy"]], [])
    assert told[0].startswith("Efficiency holds")
    assert told[1].startswith("Symmetry holds: the credits of original and copy differ by ")
    assert "is within chance" in told[1]


@pytest.mark.parametrize("name", ["fid", "inception_score"])
def test_the_order_is_the_planted_one_in_every_replicate(name):
    for credits in credits_of_replicates(name):
        order = np.argsort(-IMPROVES[name] * credits)
        first, second, *_, last = (planted.names[player] for player in order)
        assert (first, second, last) == ("unique", "plain", "noise")


@pytest.mark.parametrize("name", ["fid", "inception_score", "diversity"])
def test_duplicates_differ_by_no_more_than_their_replicates_do(name):
    """A t test of four differences: also for luck that coalitions of a replicate share."""
    credits = credits_of_replicates(name)
    apart = credits[:, planted.names.index("copy")] - credits[:, planted.names.index("original")]
    assert ttest_1samp(apart, 0.0).pvalue > 0.05


def test_nothing_new_adds_little_to_those_who_hold_all_it_has():
    """What it holds is held by plain and original; what original holds also by copy."""
    others = {"nothing_new": ["plain", "original"], "copy": ["original"], "unique": [], "plain": []}
    gained = {name: gains("fid", name, present).mean() for name, present in others.items()}
    assert max(abs(gained["nothing_new"]), abs(gained["copy"])) < gained["plain"] / 4
    assert gained["plain"] < gained["unique"]


@pytest.mark.parametrize("swapped", [False, True], ids=["as planted", "plain and original swapped"])
@pytest.mark.parametrize("name", ["fid", "inception_score"])
def test_the_order_is_not_one_of_better_digits(name, swapped):
    """Contributors of one digit each, evaluated in full, foretell what any holders would get."""
    digits = read_recorded(GAMES / "digits_game.csv", None)
    holders = dict(HOLDERS)
    if swapped:
        holders.update(plain=holders["copy"], original=holders["plain"], copy=holders["plain"])
    held = np.array([[digit in own for digit in range(10)] for own in holders.values()])
    covered = np.array([held[row].any(axis=0) for row in all_coalitions(5)])
    values = IMPROVES[name] * shapley_values(digits.of(name)(covered))
    merit = dict(zip(holders, values.tolist(), strict=True))
    assert merit["unique"] > merit["plain"] > merit["original"] > merit["nothing_new"]
    assert merit["copy"] == pytest.approx(merit["original"])


# ------------------------------------------------------------------------------ for real

REDUCED = (
    "+experiment=digits_planted",
    "property=[fid]",
    "design=paired_uniform",  # half of all coalitions
    "design.budget=32",
    "estimator=bayesian",
    "executor=serial",
    "replicates=1",
    "model.training.batch_size=16",
    "model.training.steps=600",
    "plan.recovery_steps=100",
    "plan.finetuning_steps=50",
    "generation.images=64",
    "generation.steps=10",
    "extractor.reference_classifier.steps=300",
    "runtime.device=cpu",
    "runtime.stack=17",  # the same in two stacks
)


@pytest.mark.slow
def test_a_small_run_of_the_experiment_puts_noise_last_and_the_unique_first(tmp_path):
    study = make_study(tmp_path, shared=REDUCED)
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(study, stage)
    finding = estimate(study)["fid"]
    credits = finding.attribution.credits.tolist()
    merit = {name: -credit for name, credit in zip(study.partition.names, credits, strict=True)}
    assert min(merit, key=merit.get) == "noise", merit
    assert max(merit, key=merit.get) == "unique", merit
