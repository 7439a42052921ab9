"""A user's own folder of options beside the built-in ones."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from crediting import config
from crediting.design import Exhaustive
from crediting.errors import ConfigError


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "dataset").mkdir()
    return tmp_path, [str(tmp_path), str(config.CONFIG_DIR)]


def chosen(mine, words):
    """Return what Hydra composes of a command line, and which options it chose."""
    config.register()
    words = [f"hydra.searchpath=[file://{mine}]", *words]
    with initialize_config_dir(str(config.CONFIG_DIR), version_base="1.3"):
        return compose("config", overrides=words, return_hydra_config=True)


def refuse_chosen(mine, words, searched):
    config.refuse_designs_of_methods(chosen(mine, words).hydra.runtime.choices, words, searched)


def test_other_names_are_welcome(folders):
    mine, searched = folders
    (mine / "dataset/mine.yaml").touch()
    config.refuse_shadowed_options(searched)


@pytest.mark.parametrize("name", ["dataset/digits.yaml", "config.yaml", "schema.yaml"])
def test_an_option_with_a_built_in_name_is_refused(folders, name):
    mine, searched = folders
    (mine / name).touch()
    with pytest.raises(ConfigError, match=rf"would win silently; .* names: {mine / name}$"):
        config.refuse_shadowed_options(searched)


def test_nothing_is_shadowed_where_the_built_in_folder_is_replaced(folders):
    mine, _ = folders
    (mine / "config.yaml").touch()
    config.refuse_shadowed_options([str(mine)])


MINE = "defaults:\n  - override /design@_global_.design: exhaustive # all\n_target_: my.Estimator\n"


@pytest.mark.parametrize(
    ("words", "design"),
    [
        (["+estimator@method.m.estimator=leave_one_out"], "LeaveOneOut"),
        (["+estimator@method.m.estimator=mine"], "Exhaustive"),
        (["+estimator@method.m.estimator=permutation", "estimator=kernel_shap"], "Permutation"),
        (["+estimator@compare.truth.estimator=exact"], "Exhaustive"),
    ],
)
def test_no_method_chooses_the_design_of_the_study(words, design, folders):
    mine, searched = folders
    (mine / "estimator").mkdir()
    (mine / "estimator/mine.yaml").write_text(MINE)
    assert chosen(mine, words).design._target_ == f"crediting.design.{design}"
    with pytest.raises(ConfigError, match=rf"^{words[0].lstrip('+')}: it would choose design="):
        refuse_chosen(mine, words, searched)
    refuse_chosen(mine, [*words, "design=shapley_kernel"], searched)


@pytest.mark.parametrize(
    "words",
    [
        ["+estimator@method.m.estimator=auto"],  # brings what the study has anyway
        ["+estimator@method.m.estimator=kernel_shap"],  # brings none
        ["+estimator@method.m.estimator=leave_one_out", "estimator=leave_one_out"],
        ["method=[banzhaf,paper]"],
        ["+experiment=digits_proof"],
    ],
)
def test_methods_that_leave_the_design_of_the_study_are_welcome(words, folders):
    mine, searched = folders
    refuse_chosen(mine, words, searched)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            {"design": f"{__name__}.Own"},
            [f"{__name__}, no part of crediting, named by design._target_"],
        ),
        ({"design": "test_user.Own"}, []),  # begins alike, and is another module
        ({"design": "crediting.design.Exhaustive"}, []),  # ours
    ],
)
def test_of_an_error_that_nobody_foresaw_it_is_told_whose_it_is(targets, said):
    composed = OmegaConf.create({key: {"_target_": value} for key, value in targets.items()})
    with pytest.raises(TypeError) as caught:
        Exhaustive().sample("three")
    config.note_own_part(caught.value, composed)
    assert getattr(caught.value, "__notes__", []) == [f"It passed through {one}." for one in said]
