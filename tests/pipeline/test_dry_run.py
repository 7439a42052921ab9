"""What a dry run tells is so, and it leaves no trace."""

import math
import time
from dataclasses import replace

import pytest
from diffusers import UNet2DModel
from toy_executor import ToyExecutor

from crediting.errors import ConfigError
from crediting.executors import Processes, RayCluster
from crediting.pipeline import dry_run, pace, stages
from crediting.pipeline.extract.gauges import Gauge
from crediting.pipeline.memory import typical_steps
from crediting.training.trainer import Trainer


@pytest.fixture
def told(capsys):
    """Return a function that returns what the dry run of a study prints."""

    def tell(study):
        capsys.readouterr()
        stages.dry_run(study)
        return capsys.readouterr().out

    return tell


def test_a_dry_run_tells_and_leaves_no_trace(study, told, tmp_path):
    fresh = study()
    text = told(fresh)
    assert not (tmp_path / "outputs").exists()
    distinct = len(fresh.coalitions(fresh.game))
    assert text.count("to do") == 4
    assert "\nmemory    training " in text
    assert f"{distinct} distinct coalitions, 0 in the ledger, {distinct} missing: " in text
    stages.run(fresh, "all")
    before = sorted((tmp_path / "outputs").rglob("*"))
    text = told(study())
    assert text.count("in the store") == 4
    assert "\nmemory " not in text  # there is nothing left to train or draw
    assert f"{distinct} distinct coalitions, {distinct} in the ledger\n" in text
    assert "Altogether less than a second" in text
    assert sorted((tmp_path / "outputs").rglob("*")) == before


def test_embedded_prompts_are_named_as_all_that_is_stored(study, monkeypatch):
    made = study()
    labels = [label for label, *_ in dry_run._artifacts(made)]
    assert labels == ["encode", "extract", "train", "prune"]
    monkeypatch.setattr(type(made.model), "conditional", True)
    named = {label: address for label, address, _ in dry_run._artifacts(made)}
    assert list(named) == ["encode", "embed", *labels[1:]]
    assert named["embed"] == made.prompts


def test_what_is_in_the_way_of_results_is_told(study, told):
    there = study()
    file = there.folder.parent
    file.parent.mkdir(parents=True)
    file.touch()
    assert f"report    {there.folder}, but {file} cannot be written to\n" in told(there)


def test_replicates_and_endpoints_are_counted(study, told):
    twofold = study("endpoints=dense", "replicates=2", "property=[fid]")
    text = told(twofold)
    drawn = len(twofold.coalitions(twofold.game))
    for coalitions in (drawn, 2):
        assert (
            f"{coalitions} distinct coalitions x 2 replicates, 0 in the ledger, "
            f"{2 * coalitions} missing: "
        ) in text
    assert text.count("\nprune ") == 2


def test_what_two_games_share_is_told_once(study, told):
    text = told(study("endpoints=dense", "pruning=none", "property=[fid]"))
    assert text.count("\nprune ") == 1
    assert text.count("\nevaluate ") == 2


@pytest.mark.parametrize("width", [1, 3])
def test_as_many_evaluations_take_the_time_of_one_as_there_are_workers(study, monkeypatch, width):
    shared = replace(study("partition.contributors=4"), executor=ToyExecutor(width=width))
    monkeypatch.setattr(dry_run, "seconds_per_coalition", lambda *_: 60.0)
    missing = len(shared.coalitions(shared.game))
    assert dry_run.tell_evaluations(shared, lambda: None) == 60 * math.ceil(missing / width)


@pytest.mark.parametrize(
    ("executor", "taken_for_granted"),
    [
        (Processes(4, 0, 1).sized(1, ["0", "1"]), True),
        (Processes("auto", 0, 2).sized(1, ["0"]), True),
        (Processes("auto", 0, 1).sized(1, ["0", "1"]), False),
        (RayCluster("auto", 8, 1, 0.25, 0).sized(1, ["0"]), True),
        (RayCluster("auto", 8, 1, "auto", 0).sized(1, ["0"]), False),
        (ToyExecutor(width=4), False),
    ],
)
def test_a_time_for_evaluators_that_share_a_gpu_says_what_it_takes_for_granted(
    study, monkeypatch, capsys, executor, taken_for_granted
):
    shared = replace(study("property=[fid]"), executor=executor)
    monkeypatch.setattr(dry_run, "seconds_per_coalition", lambda *_: 60.0)
    monkeypatch.setattr(dry_run, "gpus", lambda runtime: getattr(executor, "_devices", ("0",)))
    dry_run.tell_evaluations(shared, lambda: None)
    said = ", if those that share a GPU do not slow each other down\n" in capsys.readouterr().out
    assert said == taken_for_granted


def test_no_time_is_told_for_what_cannot_be_foretold(study, told):
    lines = {line.split()[0]: line for line in told(study()).splitlines()}
    assert "to do, about" in lines["train"] or "to do, less" in lines["train"]
    assert lines["extract"].endswith("to do")


def test_what_extractors_take_is_told_as_soon_as_they_are_there(study, told, monkeypatch):
    """Here a second per image, which nothing else of this study comes near."""
    own = study("property=[fid]")
    without = told(own)
    counted = "not counting feature extraction by reference_classifier, which"
    assert f"evaluations at a time, {counted}" in without
    for stage in ("encode", "extract"):
        stages.run(own, stage)
    seconds = {"elapsed": 0.0}
    real = Gauge.features

    def slow(self, images):
        seconds["elapsed"] += len(images)
        return real(self, images)

    clock = time.perf_counter
    monkeypatch.setattr(Gauge, "features", slow)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock() + seconds["elapsed"])
    known = pace.measure_pace(own)
    assert 1 < known.image < 1.5
    coalition = pace.seconds_per_coalition(own, own.game, known)
    assert own.generation.images < coalition < 1.5 * own.generation.images
    assert "without what" not in told(own)


def test_a_pace_is_that_of_a_step_a_call_and_an_image(study, monkeypatch):
    """By a clock that a training step moves by 1 s, a call by 3 and decoding an image by 7."""
    own, now = study("property=[fid]"), [0.0]

    def passes(seconds, result=None):
        now[0] += seconds
        return result

    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "train", lambda self, asked, *rest: passes(asked.recipe.steps))
    monkeypatch.setattr(UNet2DModel, "forward", lambda self, *given, **named: passes(3))
    monkeypatch.setattr(
        type(own.model), "decode", lambda self, latents: passes(7 * len(latents), latents)
    )
    assert pace.measure_pace(own) == (1, 3, 7)
    monkeypatch.setattr(pace, "predictions_per_image", lambda study: 2)
    assert pace.measure_pace(own) == (1, 6, 7)


def test_a_batch_of_more_than_all_examples_is_timed_as_one_of_all(study, monkeypatch):
    own, timed = study("model.training.batch_size=1000000", "property=[fid]"), set()
    monkeypatch.setattr(Trainer, "train", lambda self, asked, *rest: timed.add(len(asked.examples)))
    dry_run.measure_pace(own)
    assert timed == {own.partition.n_examples}


def test_hours_are_those_of_all_steps_calls_and_images(study):
    own = study("property=[fid]", "generation.batch_size=5")
    known = pace.Pace(training_step=1.0, sampling_step=10.0, image=100.0)
    # 2 steps of fine-tuning; 12 images in 3 batches of 2 steps
    assert pace.seconds_per_coalition(own, own.game, known) == 2 + 3 * 2 * 10 + 12 * 100
    assert dry_run.tell_artifacts(own, lambda: known) == 6 + 3  # training and recovery


def test_measuring_kept_images_is_not_told_as_generating(study, prepared, told):
    stages.run(prepared("property=[fid]"), "evaluate")
    both = study("property=[fid,diversity]", "design.budget=12")
    text = told(both)
    old, new = (len(s.coalitions(s.game)) for s in (study("property=[fid]"), both))
    assert f"0 in the ledger, {new - old} missing: " in text
    assert f", {old} to measure on kept images\n" in text


def test_the_rules_for_ending_early_are_told(study, told):
    few = ("partition.contributors=8", "design.budget=60", "property=[fid]")
    lines = {line.split()[0]: line for line in told(study(*few)).splitlines()}
    assert "stop" not in lines
    assert lines["Altogether"].startswith("Altogether about")
    text = told(study(*few, "stop.ci_width=0.25", "stop.budget=50"))
    assert "stop      ci_width=0.25, looked at after 24, 30, 38, 48, 50 coalitions\n" in text
    assert "\nstop      budget=50, " in text
    assert " on at most 50 coalitions of " in text
    assert "\nAltogether at most about" in text
    exactly = told(study(*few, "stop.budget=50"))
    assert " on 50 coalitions of " in exactly


def test_steps_of_unlearning_are_those_of_half_of_the_examples(study, told):
    ascending = study("finetuning=gradient_ascent", "finetuning.recipe.steps=1000")
    half = ascending.partition.n_examples / 2
    batch = ascending.game.finetuning.recipe.batch_size
    assert typical_steps(ascending, ascending.game.finetuning) == math.ceil(half / batch)
    assert "a coalition at most" in told(ascending)
    assert "a coalition at most" not in told(study("finetuning=influence_unlearning"))


def test_a_fine_tuning_that_cannot_be_foretold_is_told_until_some_was_seen(study, prepared, told):
    few = ("finetuning=influence_unlearning", "finetuning.draws=1", "property=[fid]")
    without = " without fine-tuning, whose time is known once some are evaluated\n"
    own = prepared(*few)
    assert told(own).count(without) == 1
    assert told(study(*few, "endpoints=dense")).count(without) == 1
    assert without not in told(study("property=[fid]"))
    stages.run(own, "evaluate")
    more = told(study(*few, "design.budget=8"))
    assert " missing: " in more
    assert without not in more


def test_a_compiler_is_looked_for_where_anything_is_left(study, prepared, told, no_compiler):
    stages.run(prepared("property=[fid]"), "evaluate")
    compiled = ("property=[fid]", "runtime.compile=default")
    assert "Altogether less than a second" in told(study(*compiled))
    with pytest.raises(ConfigError, match=r"^runtime\.compile: expected a C\+\+ compiler"):
        told(study(*compiled, "design.budget=12"))


def test_it_says_if_the_coalitions_are_too_few_to_be_of_use(study, capsys):
    stages.run(study("dry_run=true", "design.budget=10"), "all")
    assert "bayesian: 10 coalitions are few for 4 contributors" in capsys.readouterr().err
    stages.run(study("dry_run=true", "design.budget=12"), "all")
    stages.run(study("dry_run=true", "estimator=leave_one_out"), "all")
    assert "are few" not in capsys.readouterr().err
