"""The forecast of a study comes from its own course."""

import re
from dataclasses import replace

import numpy as np
import pytest
from toy_executor import ToyExecutor

from crediting.executors import Processes
from crediting.game.coalition import all_coalitions, coalition_key
from crediting.ledger import Ledger
from crediting.pipeline.estimate.stage import estimate
from crediting.pipeline.evaluate import tuning
from crediting.pipeline.evaluate.stage import evaluate
from crediting.pipeline.evaluate.tuning import Tuning
from crediting.pipeline.report.outlook import outlook
from crediting.pipeline.report.trust import mixture


@pytest.fixture
def told(study):
    """Return a function that evaluates a study of 8 contributors and tells its outlook."""

    def tell(*overrides: str, **options):
        chosen = ("partition.contributors=8", "property=[fid]", *overrides)
        made = replace(study(*chosen), executor=ToyExecutor(**options))
        evaluate(made)
        return made, outlook(made, estimate(made), 3600.0)

    return tell


def test_the_rate_is_that_of_the_errors_at_half_and_at_all(told):
    made, said = told("estimator=kernel_shap", "design=shapley_kernel", "design.budget=60")
    errors = [
        np.mean(estimate(made.with_budget(budget))["fid"].attribution.std_errors)
        for budget in (30, 60)
    ]
    rate = np.log2(errors[0] / errors[1])
    assert 0.25 < rate < 2
    factor = 2 ** (1 / rate)
    assert f"take {factor:.2g}x as many" in said
    more = int(re.search(r"i.e. (\d+) more", said)[1])
    assert more == int(np.ceil((factor - 1) * 60))


def test_what_is_left_are_the_coalitions_that_are_not_evaluated(told):
    words = ("estimator=bayesian", "design=paired_uniform", "design.budget=240")
    _, said = told(*words, noise=1.0)
    assert "Evaluating all other coalitions makes the credits for fid exact, i.e. 14 more" in said
    assert "about 14 hours on 1 worker" in said
    assert "about 7 hours on 2 workers" in told(*words, noise=1.0, width=2)[1]


def test_hours_are_those_of_as_many_workers_as_were_found_to_be_best(told, monkeypatch):
    monkeypatch.setattr(tuning, "choose", lambda stacks, shared: Tuning(1, 4))
    monkeypatch.setattr(tuning, "gpus", lambda runtime: ("0",))
    monkeypatch.setattr(tuning, "_setting", lambda study, spec: {"machine": "with one GPU"})
    made, _ = told("estimator=bayesian", "design=paired_uniform", "design.budget=240", noise=1.0)
    config = {
        **made.config,
        "runtime": {**made.runtime, "stack": "auto"},
        "executor": {"workers": "auto"},
    }
    shared = replace(made, config=config, executor=Processes("auto", 0, 1).sized(1, ("0",)))
    assert "about 3.5 hours on 4 workers" in outlook(shared, estimate(made), 3600.0)


def test_coalitions_that_another_study_evaluated_are_not_left(told):
    told("estimator=kernel_shap", "design=stratified", "design.seed=5", "design.budget=120")
    _, said = told("estimator=bayesian", "design=paired_uniform", "design.budget=240", noise=1.0)
    assert re.search(r"makes the credits for fid exact, i\.e\. \d more to evaluate", said)


def test_utilities_of_several_precisions_are_told(told, monkeypatch):
    made, _ = told("design.budget=20")
    assert mixture(made) == ""
    devices = ["cpu fp32", "cuda:0 bf16", "cuda:1 bf16"]
    monkeypatch.setattr(Ledger, "devices", lambda self: devices)
    assert "in several ways (cpu fp32, cuda bf16), which may tell" in mixture(made)
    monkeypatch.setattr(Ledger, "devices", lambda self: devices[1:])
    assert mixture(made) == ""


def test_coalitions_that_failed_count_as_not_evaluated(told):
    failing = {coalition_key(row) for row in all_coalitions(8)[[3, 5, 250]]}
    chosen = ("estimator=bayesian", "design=paired_uniform", "design.budget=254")
    made, said = told(*chosen, "allow_missing=true", noise=1.0, failing=failing)
    assert len(made.sample) == 254
    assert "3 of 254 coalitions failed, and count as not evaluated." in said
    assert "Every coalition is evaluated" not in said
    assert " 3 more" in said


def test_exact_credits_and_unknown_errors(told):
    assert "fid are exact" in told("estimator=exact", "design=exhaustive")[1]
    assert "fid is unknown" in told("estimator=leave_one_out", "design=leave_one_out")[1]


@pytest.mark.parametrize("name", ["leave_one_out", "add_one_in"])
def test_of_differences_from_an_end_no_further_coalition_is_a_part(told, name):
    _, said = told(f"estimator={name}", f"design={name}", "replicates=2")
    assert "More coalitions alone cannot halve" in said
    assert "more to evaluate" not in said


def test_noise_that_remains_is_told(told):
    _, said = told("estimator=exact", "design=exhaustive", "replicates=2")
    assert "More coalitions alone cannot halve" in said
    assert "raise replicates (now 2)" in said
