"""A user's own folder of options beside the built-in ones."""

import pytest

from crediting import config
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
