"""The stages in one process, where trainings can be counted and parts exchanged."""

import csv
import json
import pickle

import numpy as np
import pytest
import torch

from crediting.errors import ArtifactError, ConfigError, EvaluationError, LedgerError
from crediting.game.coalition import coalition_key, grand_coalition
from crediting.interfaces import Task
from crediting.pipeline import stages
from crediting.pipeline.diffusion_game import DiffusionGame, images_folder
from crediting.pipeline.estimate import estimate, read_sample
from crediting.pipeline.evaluate import evaluate_coalitions


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
        assert list(rows[0]) == (
            ["contributor", "examples", "credit", "std_error", "ci_low", "ci_high", "share", "rank"]
        )
        attribution = estimate(first)[name]
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


def test_another_estimator_evaluates_only_what_it_lacks(study, trainings):
    stages.run(study("design=exhaustive"), "all")
    trainings.clear()
    for overrides in (["estimator=exact"], ["estimator=leave_one_out"]):
        stages.run(study(*overrides), "all")
    assert trainings == []


def test_kernel_shap_on_all_coalitions_equals_exact(study):
    stages.run(study("design=exhaustive", "property=[fid]"), "all")
    exact = estimate(study("estimator=exact", "property=[fid]"))["fid"]
    kernel = estimate(study("design=exhaustive", "property=[fid]"))["fid"]
    np.testing.assert_allclose(kernel.credits, exact.credits, rtol=0, atol=1e-9)


def test_a_larger_budget_keeps_what_is_evaluated(study, trainings):
    small, large = study("property=[fid]"), study("property=[fid]", "design.budget=12")
    for stage in ("train", "prune", "extract", "evaluate"):
        stages.run(small, stage)
    trainings.clear()
    stages.run(large, "evaluate")
    drawn = [len(s.coalitions(s.game)) for s in (small, large)]
    assert len(trainings) == drawn[1] - drawn[0] > 0


def test_a_further_property_is_measured_on_kept_images(study, trainings):
    stages.run(study("property=[inception_score]"), "all")
    trainings.clear()
    both = study("property=[inception_score,diversity]")
    stages.run(both, "evaluate")
    assert trainings == []
    assert np.isfinite(values(both, "diversity")).all()


def test_without_kept_images_a_further_property_repeats_and_agrees(study, trainings):
    off = "runtime.keep_images=false"
    first = study("property=[diversity]", off)
    stages.run(first, "all")
    assert len(list(images_folder(first, first.game).iterdir())) == 2  # those in the report
    before = values(first, "diversity")
    trainings.clear()
    both = study("property=[diversity,fid]", off)
    stages.run(both, "evaluate")
    assert len(trainings) > 0
    np.testing.assert_array_equal(values(both, "diversity"), before)


def test_changing_the_finetuning_keeps_the_pruned_model(study, trainings):
    first = study("property=[fid]")
    for stage in ("train", "prune"):
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
        "runtime.keep_images=false",
        "name=other",
        "report.top=1",
        "generation.batch_size=5",
        "estimator.bootstrap=60",
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


def test_replicates_differ_and_are_averaged(study):
    twice = study("replicates=2", "property=[fid]")
    stages.run(twice, "all")
    stages.run(study("property=[fid]"), "all")
    once = values(study("property=[fid]"), "fid")
    assert (values(twice, "fid") != once).all()
    game = DiffusionGame(twice, twice.game)
    key = coalition_key(grand_coalition(4))
    outcomes = [game(Task(key, r, ("fid",))).values["fid"] for r in (0, 1)]
    assert outcomes[0] != outcomes[1]
    assert read_sample(twice, "fid").v_full == pytest.approx(np.mean(outcomes))


def test_endpoints_of_the_dense_model(study, trainings):
    dense = study("endpoints=dense", "property=[fid]")
    same = study("property=[fid]")
    stages.run(same, "all")
    trainings.clear()
    for stage in ("train", "prune", "extract", "evaluate"):
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
    averaged = game.stored("averaged").state_dict()
    trained = dense.store.folder("model", dense.trained.fingerprint)
    from safetensors.torch import load_file

    for name, weights in load_file(trained / "averaged.safetensors").items():
        torch.testing.assert_close(averaged[name], weights, rtol=0, atol=0)


def test_the_same_images_from_a_study_sent_to_another_process(study):
    first = study("property=[fid]")
    for stage in ("train", "prune", "extract"):
        stages.run(first, stage)
    sent = pickle.loads(pickle.dumps(first))
    assert sent.endpoints is sent.game
    key = coalition_key(np.array([True, False, True, False]))
    images = [DiffusionGame(s, s.game).images(key, 0, keep=False) for s in (first, sent)]
    torch.testing.assert_close(*images, rtol=0, atol=0)


def test_a_coalition_is_trained_on_what_it_owns(study, trainings):
    ready = study("property=[fid]")
    for stage in ("train", "prune", "extract"):
        stages.run(ready, stage)
    trainings.clear()
    row = np.array([True, False, False, True])
    DiffusionGame(ready, ready.game)(Task(coalition_key(row), 0, ("fid",)))
    assert trainings == [ready.partition.sizes[row].sum()]


# ------------------------------------------------------------------------------ what goes wrong


def test_stages_out_of_order_say_what_to_run_first(study):
    fresh = study()
    with pytest.raises(ArtifactError, match="run stage=train first"):
        stages.run(fresh, "prune")
    with pytest.raises(LedgerError, match="run stage=evaluate first"):
        stages.run(fresh, "estimate")
    stages.run(fresh, "train")
    with pytest.raises(ArtifactError, match="run stage=prune first"):
        stages.run(fresh, "evaluate")


@pytest.mark.parametrize("file", ["denoiser.safetensors", "architecture.json"])
def test_a_corrupt_checkpoint_is_named_and_nothing_else_is_lost(study, trainings, file):
    ready = study("property=[fid]")
    for stage in ("train", "prune", "extract"):
        stages.run(ready, stage)
    folder = ready.store.folder("sparse", ready.game.start.fingerprint)
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / file).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{file} is corrupt.*Delete the folder"):
        stages.run(ready, "evaluate")
    trainings.clear()
    for path in folder.iterdir():
        path.unlink()
    stages.run(ready, "prune")
    assert len(trainings) == 1  # recovered again; the full model was kept


class Fragile:
    """Is NaN for every coalition but the ends and those with one contributor."""

    unit = "nothing"
    higher_is_better = True

    def bind(self, reference):
        calls = iter(range(1000))
        return lambda generated: float("nan") if next(calls) >= self.good else 1.0

    good = 2


def test_a_property_that_turns_nan_is_a_failure_and_can_be_left_out(study):
    ready = study("property=[fid,inception_score]", "design.budget=30")
    ready.properties["inception_score"] = Fragile()
    Fragile.good = 12
    for stage in ("train", "prune", "extract"):
        stages.run(ready, stage)
    with pytest.raises(
        EvaluationError, match=r"(?s)inception_score is nan.*allow_missing=true"
    ) as stop:
        stages.run(ready, "evaluate")
    assert "\n" in str(stop.value)
    assert np.isfinite(values(ready, "fid")).all()
    with pytest.raises(LedgerError, match="inception_score"):
        estimate(ready)
    ready.config["allow_missing"] = True
    assert 0 < len(read_sample(ready, "inception_score")) < 30


def test_failed_ends_cannot_be_left_out(study):
    ready = study("property=[inception_score]", "allow_missing=true")
    ready.properties["inception_score"] = Fragile()
    Fragile.good = 1
    for stage in ("train", "prune", "extract"):
        stages.run(ready, stage)
    with pytest.raises(EvaluationError, match="cannot be left out"):
        stages.run(ready, "evaluate")


def test_a_pairing_or_budget_that_cannot_work_is_refused(study):
    with pytest.raises(ConfigError, match=r"estimator=exact cannot use .* design=shapley_kernel"):
        study("estimator=exact", "design=shapley_kernel")
    with pytest.raises(ConfigError, match=r"design\.budget: .* at least 4 coalitions"):
        study("design.budget=3")


def test_any_coalitions_can_be_evaluated_in_a_game(study):
    ready = study("property=[fid]")
    for stage in ("train", "prune", "extract"):
        stages.run(ready, stage)
    rows = np.array([[True, True, False, False], [False, False, True, True]])
    evaluate_coalitions(ready, ready.game, rows)
    from crediting.pipeline.estimate import read_utilities

    assert np.isfinite(read_utilities(ready, ready.game, rows, "fid")).all()


def test_a_dry_run_tells_and_leaves_no_trace(study, capsys, tmp_path):
    fresh = study()
    stages.dry_run(fresh)
    told = capsys.readouterr().out
    assert not (tmp_path / "outputs").exists()
    distinct = len(fresh.coalitions(fresh.game))
    assert told.count("to do") == 3
    assert f"{distinct} distinct coalitions, 0 in the ledger, {distinct} missing" in told
    stages.run(fresh, "all")
    capsys.readouterr()
    stages.dry_run(study())
    told = capsys.readouterr().out
    assert told.count("in the store") == 3
    assert f"{distinct} distinct coalitions, {distinct} in the ledger\n" in told
