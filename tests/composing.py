"""Configs as `credit` composes them: each choice of options once, as that takes Hydra a while."""

import copy
import functools
import re
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from crediting import config

VALUE = re.compile(r"(?!hydra\b)\w+(\.\w+)+=|(name|seed|stage|dry_run|replicates|endpoints)=")
"""How a word begins that changes a value of what was chosen, and chooses nothing."""


@functools.cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        return compose("config", config.of_this_experiment(words))


def composed(*words: str, outputs: Path | None = None) -> DictConfig:
    """Return the config of a command line; outputs go there unless it says where itself.

    Values are laid over what was chosen by the function that Hydra itself calls last.
    """
    values = [word for word in words if VALUE.match(word)]
    own = copy.deepcopy(_composed(tuple(word for word in words if word not in values)))
    ConfigLoaderImpl._apply_overrides_to_config(
        OverridesParser.create().parse_overrides(values), own
    )
    if outputs is not None and not any(word.startswith("paths.outputs=") for word in words):
        OmegaConf.update(own, "paths.outputs", str(outputs))
    return own


def resolved(*words: str, outputs: Path | None = None) -> dict[str, Any]:
    """Return the same as plain values, as the stages see it."""
    return config.resolve(composed(*words, outputs=outputs))
