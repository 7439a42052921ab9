"""The stages in one process, where trainings can be counted and parts exchanged."""

import csv
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from miniature_study import MINIATURE

from crediting.game.coalition import coalition_key, grand_coalition
from crediting.interfaces import Task
from crediting.pipeline import stages
from crediting.pipeline.estimate.stage import estimate, read_sample, read_utilities
from crediting.pipeline.evaluate.coalition_models import CoalitionStart
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame
from crediting.pipeline.evaluate.stage import evaluate_coalitions
from crediting.progress import bar
from crediting.randomness import derive_seed
from crediting.reporting.table import COLUMNS
from crediting.training.trainer import Trainer

QUICKLY = pytest.mark.usefixtures("begun", "undrawn")
"""With the models that all have, and figures that nobody looks at."""


def values(study, name="inception_score"):
    return read_sample(study, name).utilities


def read_csv(study, name):
    with (study.folder / f"shapley_{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_everything_comes_out_and_a_second_run_trains_nothing(study, trainings):
    first = study()
    stages.run(first, "all")
    base, recovery, *coalitions = trainings
    assert base == recovery == first.partition.n_examples
    distinct = len(first.coalitions(first.game))
    # the empty coalition is not trained; the report may want images of coalitions not drawn
    assert distinct - 1 <= len(coalitions) <= distinct - 1 + len(first.properties)

    for name in first.properties:
        rows = read_csv(first, name)
        assert list(rows[0]) == list(COLUMNS)
        attribution = estimate(first)[name].attribution
        assert sum(float(row["credit"]) for row in rows) == pytest.approx(
            attribution.v_full - attribution.v_empty, abs=1e-9
        )
        assert sum(int(row["examples"]) for row in rows) == first.partition.n_examples
        for ending in ("md", "tex", "png"):
            assert (first.folder / f"shapley_{name}.{ending}").stat().st_size > 0
        assert (first.folder / f"images_{name}.png").stat().st_size > 0
    manifest = json.loads((first.folder / "manifest.json").read_text())
    assert manifest["fingerprints"]["game"] == first.game.address.fingerprint
    assert (
        manifest["facts"]["prune"]["parameters_after"]
        < (manifest["facts"]["prune"]["parameters_before"])
    )

    before = {path: path.read_bytes() for path in first.folder.glob("shapley_*")}
    trainings.clear()
    stages.run(study(), "all")
    assert trainings == []
    assert before == {path: path.read_bytes() for path in first.folder.glob("shapley_*")}


TOLD_AGAIN = """
import json, sys
from crediting.cli import main
sys.argv = ["credit", *json.loads(sys.argv[1])]
main()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_a_finished_study_needs_nothing_that_trains(study, tmp_path):
    stages.run(study(), "all")
    words = json.dumps([*MINIATURE, f"paths.outputs={tmp_path / 'outputs'}"])
    again = subprocess.run(
        [sys.executable, "-c", TOLD_AGAIN, words], capture_output=True, text=True, check=True
    )
    assert " 0 to evaluate" in again.stderr
    slow = {"diffusers", "transformers", "peft", "torchmetrics", "torch._dynamo"}
    assert slow & set(json.loads(again.stdout.splitlines()[-1])) == set()


@QUICKLY
def test_another_estimator_evaluates_only_what_it_lacks(study, trainings):
    stages.run(study("design=exhaustive"), "all")
    trainings.clear()
    for overrides in (["estimator=exact"], ["estimator=leave_one_out"]):
        stages.run(study(*overrides), "all")
    assert trainings == []


@QUICKLY
def test_credits_can_lean_towards_how_many_images_everybody_brought(study):
    unequal = ["partition.contributors=5", "plan.coalitions=10", "property=[fid]"]
    asked = study(*unequal, "estimator.towards=examples")
    stages.run(asked, "all")
    brought = [len(player.examples) for player in asked.partition.contributors]
    assert len(set(brought)) > 1
    told = study(*unequal, f"estimator.towards={brought}")
    leaning, same = (estimate(one)["fid"].attribution for one in (asked, told))
    np.testing.assert_array_equal(leaning.credits, same.credits)
    np.testing.assert_array_equal(leaning.ci_high, same.ci_high)
    assert "lean towards the numbers of examples with probability" in leaning.explanation


@QUICKLY
def test_kernel_shap_on_all_coalitions_equals_exact(study):
    stages.run(study("design=exhaustive", "property=[fid]"), "all")
    exact = estimate(study("estimator=exact", "property=[fid]"))["fid"].attribution
    kernel = estimate(study("design=exhaustive", "property=[fid]"))["fid"].attribution
    np.testing.assert_allclose(kernel.credits, exact.credits, rtol=0, atol=1e-9)


@QUICKLY
def test_a_larger_budget_keeps_what_is_evaluated(study, trainings):
    small, large = study("property=[fid]"), study("property=[fid]", "design.budget=12")
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(small, stage)
    trainings.clear()
    stages.run(large, "evaluate")
    drawn = [len(s.coalitions(s.game)) for s in (small, large)]
    assert len(trainings) == drawn[1] - drawn[0] > 0


@QUICKLY
def test_a_further_property_is_measured_on_kept_images(study, trainings):
    stages.run(study("property=[inception_score]"), "all")
    trainings.clear()
    both = study("property=[inception_score,diversity]")
    stages.run(both, "evaluate")
    assert trainings == []
    assert np.isfinite(values(both, "diversity")).all()


@QUICKLY
def test_without_kept_images_a_further_property_repeats_and_agrees(study, trainings):
    off = "runtime.keep_images=false"
    first = study("property=[diversity]", off)
    stages.run(first, "all")
    kept = first.stored_in(first.game.address) / "images"
    assert len(list(kept.iterdir())) == 2  # those in the report
    before = values(first, "diversity")
    trainings.clear()
    both = study("property=[diversity,fid]", off)
    stages.run(both, "evaluate")
    assert len(trainings) > 0
    np.testing.assert_array_equal(values(both, "diversity"), before)


@QUICKLY
def test_changing_the_finetuning_keeps_the_pruned_model(study, trainings):
    first = study("property=[fid]")
    for stage in ("encode", "train", "prune"):
        stages.run(first, stage)
    trainings.clear()
    other = study("property=[fid]", "finetuning.recipe.steps=3")
    for stage in ("train", "prune"):
        stages.run(other, stage)
    assert trainings == []
    assert other.game.address.fingerprint != first.game.address.fingerprint


@pytest.mark.parametrize(
    "override",
    [
        "executor=processes",
        "runtime.threads=2",
        "replicates=2",
        "endpoints=dense",
        "allow_missing=true",
        "extractor.reference_classifier.steps=21",
        "property=[fid]",
        "runtime.keep_images=false",
        "name=other",
        "report.top=1",
        "generation.batch_size=5",
        "estimator.confidence=0.8",
        "design.budget=7",
    ],
)
def test_how_it_runs_changes_no_fingerprint(study, override):
    assert study(override).game.address == study().game.address


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "dataset.train=1000",
        "partition.seed=1",
        "model.training.steps=7",
        "pruning.ratio=0.5",
        "finetuning.recipe.learning_rate=0.5",
        "generation.images=13",
        "generation=ddim",
    ],
)
def test_what_is_computed_changes_the_fingerprint(study, override):
    assert study(override).game.address != study().game.address


def test_a_property_is_measured_anew_exactly_when_its_meaning_changes(study):
    first = study().property_fingerprints
    other = study("extractor.reference_classifier.steps=21").property_fingerprints
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())
    assert study("property=[fid]").property_fingerprints == {"fid": first["fid"]}
    assert study("generation.images=13").property_fingerprints == first


@QUICKLY
def test_replicates_differ_and_are_averaged(study):
    twice = study("replicates=2", "property=[fid]")
    stages.run(twice, "all")
    stages.run(study("property=[fid]"), "all")
    once = values(study("property=[fid]"), "fid")
    assert (values(twice, "fid") != once).all()
    game = DiffusionGame(twice, twice.game)
    key = coalition_key(grand_coalition(4))
    outcomes = game(tuple(Task(key, r, ("fid",)) for r in (0, 1)))
    measured = [outcome.values["fid"] for outcome in outcomes]
    assert measured[0] != measured[1]
    assert read_sample(twice, "fid").v_full == pytest.approx(np.mean(measured))
    assert [o.seed for o in outcomes] == [derive_seed("generation", 0, r) for r in (0, 1)]


@QUICKLY
def test_endpoints_of_the_dense_model(study, trainings):
    dense = study("endpoints=dense", "property=[fid]")
    same = study("property=[fid]")
    stages.run(same, "all")
    trainings.clear()
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(dense, stage)
    assert trainings == []  # the dense model and its untrained twin are there already
    ends = [
        [getattr(read_sample(s, "fid"), end) for end in ("v_empty", "v_full")]
        for s in (same, dense)
    ]
    assert ends[0][0] != ends[1][0]
    assert ends[0][1] != ends[1][1]
    np.testing.assert_array_equal(values(dense, "fid"), values(same, "fid"))
    game = DiffusionGame(dense, dense.endpoints)
    averaged = game.models.stored("averaged").state_dict()
    trained = dense.store.folder("model", dense.trained.fingerprint)
    from safetensors.torch import load_file

    for name, weights in load_file(trained / "averaged.safetensors").items():
        torch.testing.assert_close(averaged[name], weights, rtol=0, atol=0)


def test_the_same_images_from_a_study_sent_to_another_process(prepared):
    first = prepared("property=[fid]")
    sent = pickle.loads(pickle.dumps(first))
    assert sent.endpoints is sent.game
    key = coalition_key(np.array([True, False, True, False]))
    images = [DiffusionGame(s, s.game).images(key, 0, keep=False) for s in (first, sent)]
    torch.testing.assert_close(*images, rtol=0, atol=0)


def test_another_seed_has_other_weights_to_begin_with_and_other_batches(study, monkeypatch):
    begun = []
    original = Trainer.train

    def noting(self, training, stream, *rest):
        begun.append((stream.seed, next(training.denoiser.parameters()).sum().item()))
        return original(self, training, stream, *rest)

    monkeypatch.setattr(Trainer, "train", noting)
    for seed in (0, 1):
        for stage in ("encode", "train", "prune"):
            stages.run(study("property=[fid]", f"seed={seed}"), stage)
    streams, weights = zip(*begun, strict=True)
    assert len(streams) == len(set(streams)) == len(set(weights)) == 4


def test_another_seed_or_replicate_has_other_batches_in_coalitions(study):
    starts = [
        CoalitionStart(None, study(f"seed={seed}"), None, replicate)
        for seed in (0, 1)
        for replicate in (0, 1)
    ]
    assert len({start.stream.seed for start in starts}) == 4


def test_bars_of_trainings_reach_their_last_step(study, monkeypatch):
    bars = {}
    monkeypatch.setattr(
        "crediting.pipeline.train.bar", lambda *of: bars.setdefault(of[0], bar(*of))
    )
    for stage in ("encode", "train", "prune"):
        stages.run(study("property=[fid]"), stage)
    reached = {label: (shown.n, shown.total) for label, shown in bars.items()}
    assert reached == {"train": (6, 6), "recover": (3, 3)}


def test_a_coalition_is_trained_on_what_it_owns(prepared, trainings):
    ready = prepared("property=[fid]")
    trainings.clear()
    row = np.array([True, False, False, True])
    DiffusionGame(ready, ready.game)((Task(coalition_key(row), 0, ("fid",)),))
    assert trainings == [ready.partition.sizes[row].sum()]


def test_any_coalitions_can_be_evaluated_in_a_game(prepared):
    ready = prepared("property=[fid]")
    rows = np.array([[True, True, False, False], [False, False, True, True]])
    evaluate_coalitions(ready, ready.game, rows)
    assert np.isfinite(read_utilities(ready, ready.game, rows, "fid")).all()
