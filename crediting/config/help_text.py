"""What `credit --help` lists: the options of every group, the chosen ones marked."""

import textwrap

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

_WIDTH, _COLUMN = 100, 51
"""Of the text, and where the options of a group begin in it."""


def register() -> None:
    """Make `${options:<group>}` known to the template of the help text, and the text quick."""
    OmegaConf.register_new_resolver("options", _options, replace=True)
    # Hydra copies this, which never changes, for each of 160 lists that it makes for a help text
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def _options(group: str, *, _root_: DictConfig) -> str:
    """Return a group's options for the help text, the chosen ones marked by a star."""
    choice = OmegaConf.select(_root_, f"hydra.runtime.choices.{group}")
    # a group of which several can be chosen is missing there; its options bear their own names
    chosen = [choice] if choice else list(OmegaConf.select(_root_, group) or ())
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    named = [f"*{option}" if option in chosen else option for option in options]
    lines = textwrap.wrap("  ".join(named), _WIDTH - _COLUMN, break_on_hyphens=False)
    return ("\n" + " " * _COLUMN).join(lines)
