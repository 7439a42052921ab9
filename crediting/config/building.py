"""From plain values to the objects that they describe; all problems are told together."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from crediting.config.options import option_problems, typed
from crediting.config.protocols import part_problems
from crediting.config.settings import methods_of_steps, methods_problems, settings_problems
from crediting.errors import ConfigError, CreditingError, located

GROUPS = (
    "dataset",
    "partition",
    "model",
    "pruning",
    "finetuning",
    "generation",
    "extractor",
    "property",
    "design",
    "estimator",
    "executor",
    "baseline",
)
"""Config groups whose options name a class by `_target_`."""

Altered = tuple[dict[str, Any], dict[str, Any]]
"""A whole config of which some groups are otherwise, and the parts with them."""

METHOD_GROUPS = ("pruning", "finetuning", "design", "estimator")
"""What may be otherwise in a method that credits are compared with."""


def build(config: Mapping[str, Any], groups: Sequence[str] = GROUPS) -> dict[str, Any]:
    """Return the object that each of these groups of a resolved config describes.

    Everything is checked before anything is built, and all problems are reported together.

    Raises:
        ConfigError: a setting is out of range, a target cannot be imported, or its arguments do
            not fit.
    """
    _refuse(settings_problems(config))
    _refuse(problem for group in groups for problem in option_problems(group, config[group]))
    built: dict[str, Any] = {}
    problems: list[str] = []
    for group in groups:
        try:
            built[group] = instantiate(config[group], _convert_="all")
        except InstantiationException as error:
            if not isinstance(error.__cause__, CreditingError):
                raise
            problems.append(_located(group, str(error), str(error.__cause__)))
    _refuse(problems)
    _refuse(problem for group in groups for problem in part_problems(group, built[group]))
    return built


def methods(config: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Altered]:
    """Return the config and the parts of every method that a study is compared with, by name.

    A method is what it has otherwise than the study; `truth` is among them, and so is fine-tuning
    of each of compare.steps.

    Raises:
        ConfigError: as `build`, or a method differs in what would make it another study.
    """
    _refuse(methods_problems(config, METHOD_GROUPS))
    altered = alterations(config, parts)
    steps = {
        name: {"finetuning": {"recipe": {"steps": count}}}
        for name, count in methods_of_steps(config["compare"]).items()
    }
    chosen = {**config["method"], **steps, "truth": config["compare"]["truth"]}
    found = {}
    for name, node in chosen.items():
        changed = {group: _merged(config[group], node[group]) for group in node}
        try:
            found[name] = altered(changed)
        except ConfigError as error:
            key = "compare.truth" if name == "truth" else f"method.{name}"
            raise ConfigError(f"{key}: {error}") from error
    return found


def alterations(
    config: Mapping[str, Any], parts: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], Altered]:
    """Return what lays settings of whole groups over those of a study; it raises as `build`.

    They are `typed`, as those of the study are.
    """

    def altered(groups: Mapping[str, Any]) -> Altered:
        settings = {**config, **typed(groups)}
        return settings, {**parts, **build(settings, tuple(groups))}

    return altered


def _merged(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others laid over them; of another class they stand for themselves."""
    if other.get("_target_", own.get("_target_")) != own.get("_target_"):
        return dict(other)
    nested = {
        key: _merged(own[key], value)
        for key, value in other.items()
        if isinstance(value, Mapping) and isinstance(own.get(key), Mapping)
    }
    return {**own, **other, **nested}


def _refuse(problems: Iterable[str]) -> None:
    listed = list(problems)
    if listed:
        raise ConfigError("the configuration cannot work:\n  - " + "\n  - ".join(listed))


def _located(group: str, instantiation_error: str, message: str) -> str:
    """Return a constructor's message with the full key in front, unless it names the key itself."""
    nested = re.search(r"full_key: (\S+)", instantiation_error)
    return located(f"{group}.{nested[1]}" if nested else group, message)
