"""A user's own folder of options beside the built-in ones."""

import pytest
from omegaconf import OmegaConf

from crediting import config
from crediting.design import Exhaustive
from crediting.errors import ConfigError


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "dataset").mkdir()
    return tmp_path, [str(tmp_path), str(config.CONFIG_DIR)]


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
