"""Configs as `credit` composes them: each choice of options once, as that takes Hydra a while.

Files of the package are read once, too; what is written while tests run is read again.
"""

import copy
import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from crediting import config

VALUE = re.compile(r"\+?(?!hydra\b)\w+(\.\w+)+=|(name|seed|stage|dry_run|replicates|endpoints)=")
"""How a word begins that changes a value of what was chosen, and chooses nothing."""


OUTPUTS = "/where/outputs/go"
OF_THIS_FOLDER = re.compile(r"paths\.outputs=|game\.path=|\+experiment=recorded$")
"""How a word begins of which the config depends on the folder that it is composed in."""

_read_file: Callable[..., Any] = OmegaConf.load
_read = functools.cache(lambda path: _read_file(path))


def read_once(file: Any) -> Any:
    """Return what OmegaConf.load does; files of the package are parsed when first asked for."""
    path = Path(getattr(file, "name", file))
    if config.CONFIG_DIR.resolve() in path.resolve().parents:
        return copy.deepcopy(_read(str(path)))
    return _read_file(file)


@contextmanager
def _files_read_once() -> Iterator[None]:
    OmegaConf.load = read_once
    try:
        yield
    finally:
        OmegaConf.load = _read_file


@functools.cache
def _composed(words: tuple[str, ...]) -> DictConfig:
    config.register()
    folder = str(config.CONFIG_DIR)
    with _files_read_once(), initialize_config_dir(version_base="1.3", config_dir=folder):
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
    if any(OF_THIS_FOLDER.match(word) for word in words):
        return config.resolve(composed(*words, outputs=outputs))
    own = "outputs" if outputs is None else str(outputs)
    plain = _replaced(_resolved(words), own)
    plain["paths"]["outputs"] = str(Path(own).resolve())  # of all paths this one alone is
    return plain


@functools.cache
def _resolved(words: tuple[str, ...]) -> dict[str, Any]:
    return config.resolve(composed(*words, outputs=Path(OUTPUTS)))


def _replaced(node: Any, outputs: str) -> Any:
    """Return a copy with the outputs where they belong."""
    if isinstance(node, dict):
        return {key: _replaced(value, outputs) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, outputs) for value in node]
    return node.replace(OUTPUTS, outputs) if isinstance(node, str) else copy.copy(node)
