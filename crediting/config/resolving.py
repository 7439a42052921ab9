"""From what Hydra composed to plain values; and what its errors mean."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from crediting.config.folders import CONFIG_DIR
from crediting.config.options import SEVERAL
from crediting.config.schema import Schema
from crediting.config.words import unreadable
from crediting.errors import ConfigError, did_you_mean

_MEANT = (
    (
        r"Invalid value assigned: \w+ is not a ListConfig, list or tuple\.?",
        "expected a list, for instance of one: [value]",
    ),
    (r"field '.*' is not Optional", "expected a value, got null"),
    (
        r"Invalid type assigned: \w+ is not a subclass of \w+\. value: (.*)",
        r"expected settings below it, key.setting=value, got \1",
    ),
    (r"\w+ \(DictConfig\) does not support deletion", "it cannot be removed; give it a value"),
    (
        r"Could not delete from config\. '(.+)' does not exist\.",
        r"~\1: there is nothing to remove; it is null already, or there is no such setting",
    ),
    (
        r"Could not delete '(.+)'\. No match in the defaults list",
        r"~\1: no option is chosen that this removes; choose others, group=option or group=[...]",
    ),
    (
        r"Config group override must be a string or a list\. Got \w+",
        "a group is set to null or to a number; choose an option by its name, group=option",
    ),
)
"""What is said of values of another kind or of none, and what it means."""


def resolve(composed: DictConfig) -> dict[str, Any]:
    """Return the composed config as plain values, with absolute paths.

    Raises:
        ConfigError: values are missing (all of them are named), unknown or refer to nothing.
    """
    try:
        # once more against the schema: `+key=value` adds keys that it does not know, and `~key`
        # removes some that it does
        checked = OmegaConf.merge(OmegaConf.structured(Schema), OmegaConf.to_container(composed))
        missing = sorted(_missing(OmegaConf.to_container(checked)))
        if missing:
            listed = ", ".join(map(_example, missing))
            raise ConfigError(f"these settings have no value yet: {listed}")
        plain = OmegaConf.to_container(checked, resolve=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(plain, dict)
    plain["paths"]["outputs"] = _absolute("paths.outputs", plain["paths"]["outputs"])
    if plain["game"]["path"]:
        plain["game"]["path"] = _absolute("game.path", plain["game"]["path"])
    return {str(key): value for key, value in plain.items()}


def explain(error: Exception) -> str:
    """Return what an error of Hydra or OmegaConf means to whoever typed a command."""
    if isinstance(error, OverrideParseException):
        return unreadable(str(error.override))
    file = re.match(r"In '([^']+)'", str(error))
    where = f"{file[1]}.yaml: " if file and file[1] != "config" else ""
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        return where + _no_such_option(error)
    cause = error.__cause__ or error.__context__
    if not isinstance(error, OmegaConfBaseException) and isinstance(cause, OmegaConfBaseException):
        error = cause
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        there = list(error.parent_node or ())
        known = [key for key in there if key not in ("hydra", "_target_")]
        advice = did_you_mean(str(error.key), known) if there else f"type +{error.full_key}=..."
        return f"{where}{error.full_key}: there is no such setting; {advice}"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        where += f"{error.full_key}: "
    said = re.split(r"\n\s*(?:full_key|Config search path)", str(error))[0].strip()
    found = ((re.fullmatch(pattern, said), meant) for pattern, meant in _MEANT)
    return where + next((match.expand(meant) for match, meant in found if match), said)


def _no_such_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    known = error.options or sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))
    return f"{group}={option}: there is no such option; available: {', '.join(known)}"


def _missing(node: Any, path: str = "") -> Iterator[str]:
    """Yield keys without a value; `OmegaConf.missing_keys` fails where another refers to one."""
    if node == MISSING:
        yield path
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _missing(value, f"{path}.{key}" if path else str(key))


def _example(key: str) -> str:
    if SEVERAL.get(key):
        return f"{key}=[<option>, ...]"
    return f"{key}=<option>" if (CONFIG_DIR / key).is_dir() else f"{key}=<value>"


def _absolute(key: str, path: str) -> str:
    if not path:
        raise ConfigError(f"{key}: expected a path, got ''")
    try:
        return str(Path(path).expanduser().resolve())
    except RuntimeError as error:  # of `~somebody` who is not there, or of links in a circle
        raise ConfigError(f"{key}: {path!r} leads nowhere ({error}); give another path") from error
