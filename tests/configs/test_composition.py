"""Who wins when options, experiments and the command line disagree, and what comes of it."""

import copy
import re
from pathlib import Path

import pytest
from hydra import compose as compose_anew
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException

from crediting import config
from crediting.errors import ConfigError
from crediting.pipeline.study import Study


@pytest.mark.parametrize(
    ("overrides", "design"),
    [
        ([], "PairedUniform"),
        (["estimator=kernel_shap"], "PairedUniform"),
        (["estimator=paper"], "ShapleyKernel"),
        (["+experiment=cifar_ddpm"], "ShapleyKernel"),
        (["+experiment=cifar_ddpm", "estimator=bayesian"], "PairedUniform"),
        (["estimator=leave_one_out"], "LeaveOneOut"),
        (["estimator=exact"], "Exhaustive"),
        (["+experiment=digits_exact"], "Exhaustive"),
        (["estimator=leave_one_out", "design=exhaustive"], "Exhaustive"),
        (["design=exhaustive", "estimator=leave_one_out"], "Exhaustive"),
        (["+experiment=digits_exact", "design=shapley_kernel"], "ShapleyKernel"),
        (["+experiment=digits_exact", "estimator=kernel_shap"], "PairedUniform"),
    ],
)
def test_an_estimator_brings_its_design_unless_one_is_chosen(overrides, design, compose):
    assert compose(*overrides).design._target_ == f"crediting.design.{design}"


@pytest.fixture
def mine(tmp_path):
    """Return `mine(experiment)`: what selects an experiment with this text from a user's folder."""

    def write(text: str) -> list[str]:
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment/mine.yaml").write_text(f"# @package _global_\n{text}")
        return [f"hydra.searchpath=[file://{tmp_path}]", "+experiment=mine"]

    return write


def test_an_experiment_may_choose_another_design_than_its_estimator_brings(mine, compose):
    chosen = mine(
        "defaults:\n  - override /estimator: leave_one_out\n  - override /design: exhaustive"
    )
    assert compose(*chosen).design._target_ == "crediting.design.Exhaustive"


def test_experiments_win_over_options_and_the_command_line_over_experiments(mine, compose):
    chosen = mine("seed: 7\nmodel:\n  training:\n    steps: 8\n")
    composed = compose(*chosen, "model.training.steps=9")
    assert (composed.seed, composed.design.seed, composed.model.training.steps) == (7, 7, 9)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["estimator=exact", "design=shapley_kernel"],
            r"estimator=exact cannot use .*design=shapley_kernel; it can use design=exhaustive$",
        ),
        (
            ["estimator=paper", "design.budget=1"],
            r"design\.budget: .*kernel_shap needs at least 2 .*, got 1",
        ),
    ],
)
def test_a_pairing_that_cannot_work_is_refused_by_name(overrides, message, resolved):
    plain = resolved(*overrides)
    with pytest.raises(ConfigError, match=message):
        Study.assemble(plain, config.build(plain))


def test_resolved_values_are_plain_and_paths_absolute(resolved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = resolved("paths.outputs=here", "stage=train", "runtime.device=cpu")
    assert plain["paths"]["outputs"] == str(tmp_path / "here")
    assert plain["stage"] == "train"
    assert plain["runtime"]["device"] == "cpu"
    assert type(plain["model"]) is dict
    assert type(plain["model"]["unet"]["block_out_channels"]) is list


def test_a_home_folder_is_understood(resolved):
    outputs = resolved("paths.outputs='~/credits'")["paths"]["outputs"]
    assert outputs == str(Path.home() / "credits")


def test_all_missing_values_are_named(resolved):
    with pytest.raises(ConfigError, match=r"model\.training\.steps=<value>, seed=<value>"):
        resolved("seed=???", "model.training.steps=???")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+sede=1", "sede: there is no such setting; did you mean seed"),
        ("+runtime.thread=2", "runtime.thread: there is no such setting; did you mean threads"),
        ("++report.wide=2", "report.wide: there is no such setting; known: top, grid"),
        ("dataset.train=${of_what}", "dataset.train: .*'of_what' not found"),
    ],
)
def test_what_the_schema_does_not_know_is_refused(override, message, resolved):
    with pytest.raises(ConfigError, match=message):
        resolved(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("report.payout.fid=1000", r"there is no such setting; type \+report\.payout\.fid=\.\.\."),
        ("partition.size=9", "there is no such setting; known: column$"),
    ],
)
def test_what_only_a_plus_adds_is_told_and_no_target_is_listed(override, message, compose):
    with pytest.raises(ConfigCompositionException) as caught:
        compose(override)
    assert re.search(message, config.explain(caught.value))


def test_what_hydra_stores_is_changed_by_no_study():
    """All share it: `config.register` keeps Hydra from copying it."""
    config.register()
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    before = copy.deepcopy(store.repo)
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        composed = compose_anew("config", ["seed=7", "plan.coalitions=9", "model=sd_lora"])
    composed.plan.coalitions = 11
    composed.paths.outputs = "elsewhere"
    assert store.repo == before
