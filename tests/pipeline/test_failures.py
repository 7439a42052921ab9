"""What goes wrong: one message that says what to do, and nothing recorded is lost."""

import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from crediting import config
from crediting.errors import (
    ArtifactError,
    ConfigError,
    DeviceLostError,
    EvaluationError,
    LedgerError,
)
from crediting.game.coalition import (
    all_coalitions,
    coalition_key,
    coalition_keys,
    grand_coalition,
)
from crediting.interfaces import Outcome, Task
from crediting.ledger import Ledger
from crediting.pipeline import stages
from crediting.pipeline.estimate.stage import estimate, read_sample
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame
from crediting.pipeline.evaluate.stage import _first_words
from crediting.pipeline.file_names import can_name_files
from crediting.pipeline.study import Study


class Fragile:
    """A property that is NaN for the models that it measures as these, counted from 1; else 1.

    Everybody's model is measured first and nobody's last.
    """

    unit = "nothing"
    higher_is_better = True

    def __init__(self, bad):
        self.bad = bad

    def bind(self, reference):
        calls = count(1)
        return lambda generated: float("nan") if next(calls) in self.bad else 1.0


def ledger_of(study):
    address = study.game.address
    return Ledger(study.stored_in(address) / "ledger.sqlite", address.fingerprint)


def record(study, task, value=None):
    """Record a value of fid, or a failure, as a worker would have."""
    values, failures = ({}, {"": "boom"}) if value is None else ({"fid": value}, {})
    outcome = Outcome(task, values, failures, seed=0, seconds=0.0, device="elsewhere")
    with ledger_of(study) as ledger:
        ledger.record(outcome, study.property_fingerprints)


# ------------------------------------------------------------------------------ before and between


def test_stages_out_of_order_say_what_to_run_first(study):
    fresh = study()
    with pytest.raises(ArtifactError, match="run stage=encode first"):
        stages.run(fresh, "train")
    stages.run(fresh, "encode")
    with pytest.raises(ArtifactError, match="run stage=train first"):
        stages.run(fresh, "prune")
    with pytest.raises(LedgerError, match=r"are not evaluated yet.* run stage=evaluate first"):
        stages.run(fresh, "estimate")
    stages.run(fresh, "train")
    with pytest.raises(ArtifactError, match="run stage=prune first"):
        stages.run(fresh, "evaluate")


def test_what_is_not_evaluated_is_sought_where_it_belongs(prepared, study):
    same = prepared("property=[fid]")
    stages.run(same, "evaluate")
    dense, larger = study("property=[fid]", "endpoints=dense"), study("property=[fid]", "seed=1")
    ends = dense.stored_in(dense.endpoints.address).name
    with pytest.raises(LedgerError, match=ends):
        estimate(dense)
    with pytest.raises(LedgerError, match=larger.stored_in(larger.game.address).name):
        estimate(larger)
    for stage in ("prune", "evaluate"):
        stages.run(dense, stage)
    with pytest.raises(LedgerError, match=rf"v\(empty\).*{ends}"):
        estimate(study("property=[diversity]", "endpoints=dense"))
    with pytest.raises(LedgerError, match=r"8 of 14 coalitions are not evaluated yet"):
        estimate(study("property=[fid]", "design.budget=40"))


def test_a_pairing_or_budget_that_cannot_work_is_refused(study):
    with pytest.raises(ConfigError, match=r"estimator=exact cannot use .* design=shapley_kernel"):
        study("estimator=exact", "design=shapley_kernel")
    with pytest.raises(ConfigError, match=r"design\.budget: .* at least 2 coalitions"):
        study("estimator=paper", "design.budget=1")
    assert len(study("estimator=paper", "design.budget=2").sample) == 2


@pytest.mark.parametrize("name", ["quality/fid", "replicate", "Replicate"])
def test_a_property_that_cannot_name_a_file_or_a_column_is_refused_at_once(study, name):
    plain = dict(study().config)
    plain["property"] = {name: plain["property"]["fid"]}
    with pytest.raises(ConfigError, match=rf"property\.{name}: .* rename it"):
        Study.assemble(plain, config.build(plain))


@pytest.mark.parametrize(
    ("name", "can"),
    [("fid", True), ("a/b", False), (100 * "é", True), (100 * "é" + "x", False)],
)
def test_names_of_files_are_no_paths_and_have_200_bytes_at_most(name, can):
    assert can_name_files(name) is can


@pytest.mark.parametrize("file", ["denoiser.safetensors", "architecture.json"])
def test_a_corrupt_checkpoint_is_named_and_nothing_else_is_lost(prepared, trainings, file):
    ready = prepared("property=[fid]")
    folder = ready.stored_in(ready.game.start)
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


# ------------------------------------------------------------------------------ while evaluating


def test_a_property_that_turns_nan_is_a_failure_and_can_be_left_out(prepared, capsys):
    ready = prepared("property=[fid,inception_score]", "estimator=paper", "design.budget=30")
    ready.properties["inception_score"] = Fragile(bad={5, 6})
    with pytest.raises(EvaluationError, match=r"(?s)inception_score is nan.*allow_missing=true"):
        stages.run(ready, "evaluate")
    assert len(read_sample(ready, "fid")) == 30
    with pytest.raises(LedgerError, match="inception_score"):
        estimate(ready)
    ready.config["allow_missing"] = True
    capsys.readouterr()
    left = len(estimate(ready)["inception_score"].sample)
    assert 0 < left < 30
    assert f"inception_score without {30 - left} of 30 coalitions" in capsys.readouterr().err


def test_too_few_coalitions_are_not_estimated_from(prepared):
    pair = ("estimator=kernel_banzhaf", "design=bernoulli", "design.budget=10")
    ready = prepared("property=[inception_score]", *pair, "allow_missing=true")
    ready.properties["inception_score"] = Fragile(bad={3, 4, 5, 6})  # ends and others are good
    stages.run(ready, "evaluate")
    with pytest.raises(LedgerError, match=r"estimator=kernel_banzhaf needs 10\..*`failures`"):
        estimate(ready)


def test_failed_ends_cannot_be_left_out(prepared):
    ready = prepared("property=[inception_score]", "allow_missing=true")
    ready.properties["inception_score"] = Fragile(bad=range(2, 99))
    with pytest.raises(EvaluationError, match="cannot be left out"):
        stages.run(ready, "evaluate")


def test_failures_of_what_is_not_asked_for_do_not_matter(prepared, study):
    ready, other = prepared("property=[fid]"), study("property=[diversity]")
    stages.run(ready, "evaluate")
    everybody, *_ = asked = coalition_keys(ready.coalitions(ready.game))
    unasked = next(key for key in coalition_keys(all_coalitions(4)) if key not in asked)
    record(ready, Task(everybody, 1, ("fid",)))
    record(ready, Task(unasked, 0, ("fid",)))
    record(other, Task(everybody, 0, ("diversity",)))
    stages.run(ready, "evaluate")
    with ledger_of(ready) as ledger:
        assert len(ledger.failures()) == 3


def test_a_setting_that_cannot_work_is_no_failure_of_the_coalitions(prepared, study):
    prepared("property=[fid]")
    wrong = study("property=[fid]", "generation.steps=1001")
    with pytest.raises(ConfigError, match=r"generation\.steps"):
        stages.run(wrong, "evaluate")
    with ledger_of(wrong) as ledger:
        assert ledger.failures() == []


def test_damaged_kept_images_are_named_and_nothing_else_is_lost(prepared, study, trainings):
    ready = prepared("property=[fid]")
    stages.run(ready, "evaluate")
    kept = next((ready.stored_in(ready.game.address) / "images").iterdir())
    kept.write_bytes(kept.read_bytes()[:50])
    both = study("property=[fid,diversity]")
    with pytest.raises(ArtifactError, match=rf"{kept.name}.*Delete this one file"):
        stages.run(both, "evaluate")
    kept.unlink()
    trainings.clear()
    stages.run(both, "evaluate")
    assert len(trainings) <= 1


def test_repeats_that_disagree_are_told_in_one_line(prepared, capsys):
    ready = prepared("property=[fid]")
    stages.run(ready, "evaluate")
    key = coalition_key(grand_coalition(4))
    for value in (-1.0, -2.0):
        record(ready, Task(key, 0, ("fid",)), value)
    before = read_sample(ready, "fid").v_full
    capsys.readouterr()
    stages.run(ready, "evaluate")
    told = [line for line in capsys.readouterr().err.splitlines() if key in line]
    assert len(told) == 1
    assert f"2 repeated evaluations gave another result, for instance fid of {key}" in told[0]
    assert f"first {before!r} (cpu fp32), then -2.0 (elsewhere)" in told[0]


def test_of_what_a_failure_says_the_first_line_is_told_and_its_kind(prepared):
    class Wordy(Fragile):
        def bind(self, reference):
            def measure(generated):
                if next(self.calls) > 1:
                    raise RuntimeError("CUDA error: assert triggered\n  see below\nCompile with X.")
                return 1.0

            self.calls = count(1)
            return measure

    ready = prepared("property=[fid]")
    ready.properties["fid"] = Wordy(bad={})
    with pytest.raises(EvaluationError, match=r": RuntimeError: CUDA error: assert triggered\nTra"):
        stages.run(ready, "evaluate")


class Exits(Fragile):
    """A property, or a fine-tuning, that ends Python at the call number `last`, counted from 1."""

    recipe = None

    def __init__(self, last):
        self.calls, self.last = count(1), last

    def bind(self, reference):
        return self.end

    def end(self, *_):
        return sys.exit("enough") if next(self.calls) >= self.last else 1.0

    coalition_model = end


@pytest.mark.parametrize("stack", [1, 2])
def test_a_property_that_exits_fails_and_ends_nothing(prepared, stack):
    ready = prepared("property=[fid,inception_score]", f"runtime.stack={stack}")
    ready.properties["inception_score"] = Exits(last=3)  # the first call tries it out
    with pytest.raises(EvaluationError, match=r"inception_score .*: SystemExit: enough\nTra"):
        stages.run(ready, "evaluate")
    everything = len(ready.coalitions(ready.game))
    with ledger_of(ready) as ledger:
        failures = ledger.failures()
        assert len(failures) >= everything - 2
        assert all('sys.exit("enough")' in failure.traceback for failure in failures)
        assert (
            ledger.missing(
                coalition_keys(ready.coalitions(ready.game)),
                1,
                {"fid": ready.property_fingerprints["fid"]},
            )
            == []
        )


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_fine_tuning_that_exits_fails_and_ends_nothing(prepared, tasks):
    ready = prepared("property=[fid]")
    game = DiffusionGame(ready, replace(ready.game, finetuning=Exits(last=1)))
    job = [Task(key, 0, ("fid",)) for key in coalition_keys(all_coalitions(4)[1 : 1 + tasks])]
    outcomes = game(tuple(job))
    assert [outcome.failures[""].splitlines()[-1] for outcome in outcomes] == [
        "SystemExit: enough"
    ] * tasks


def test_a_property_that_exits_when_it_is_tried_out_is_named(prepared):
    ready = prepared("property=[fid]")
    ready.properties["fid"] = Exits(last=1)
    with pytest.raises(ConfigError, match=r"property\.fid: cannot be measured .*SystemExit: enou"):
        stages.run(ready, "extract")
    ready.properties["fid"].bind = ready.properties["fid"].end
    with pytest.raises(ConfigError, match=r"property\.fid: cannot be bound .*SystemExit: enough"):
        stages.run(ready, "extract")


@pytest.mark.parametrize(
    ("told", "first"),
    [
        ("worker died 3 times", "worker died 3 times"),
        (
            'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f(\n     ^\n'
            "ValueError: one\n  two\nthree",
            "ValueError: one",
        ),
        (
            '  File "a.py", line 1\n    f(\n     ^\nSyntaxError: never closed',
            "SyntaxError: never closed",
        ),
        (
            'Traceback (most recent call last):\n  File "a.py", line 1, in f\nKeyError: 1\n\n'
            "During handling of the above exception, another exception occurred:\n\n"
            'Traceback (most recent call last):\n  File "b.py", line 2, in g\n'
            "RuntimeError: diverged",
            "RuntimeError: diverged",
        ),
    ],
)
def test_the_first_words_of_a_failure_are_found_in_any_text(told, first):
    assert _first_words(told) == first


def test_a_property_may_return_any_kind_of_number(prepared):
    ready = prepared("property=[fid]")

    class Tensor(Fragile):
        def bind(self, reference):
            return lambda generated: torch.tensor(1.5)

    ready.properties["fid"] = Tensor(bad={})
    task = Task(coalition_key(np.ones(4, bool)), 0, ("fid",))
    (outcome,) = DiffusionGame(ready, ready.game)((task,))
    assert type(outcome.values["fid"]) is float


# ------------------------------------------------------------------------------ a GPU that is lost


def test_failures_on_a_gpu_that_answers_no_more_are_no_coalitions(monkeypatch):
    def dead():
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore of it")

    game = DiffusionGame.__new__(DiffusionGame)
    game._device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "synchronize", dead)
    with pytest.raises(
        DeviceLostError, match=r"an illegal memory access was encountered\), and this"
    ):
        game._check_device()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    game._check_device()  # the GPU is well: the coalition failed
