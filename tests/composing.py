"""Configs as `credit` composes them: each once, for Hydra takes half a second over it."""

import copy
import functools
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from crediting import config


@functools.cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        return compose("config", config.of_this_experiment(words))


def composed(*words: str, outputs: Path | None = None) -> DictConfig:
    """Return the config of a command line; outputs go there unless it says where itself."""
    own = copy.deepcopy(_composed(words))
    if outputs is not None and not any(word.startswith("paths.outputs=") for word in words):
        OmegaConf.update(own, "paths.outputs", str(outputs))
    return own


def resolved(*words: str, outputs: Path | None = None) -> dict[str, Any]:
    """Return the same as plain values, as the stages see it."""
    return config.resolve(composed(*words, outputs=outputs))
