"""The door to Hydra: where configs live, what may stand in them, and the objects they describe.

Only this module and `cli` know of hydra and omegaconf. Everything beyond receives plain values.
"""

import difflib
import importlib
import inspect
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Union

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf

from crediting.errors import ConfigError, CreditingError

_HERE = Path(__file__).resolve().parent
CONFIG_DIR = next(
    folder
    for folder in (_HERE / "configs", _HERE.parent / "configs")
    if (folder / "config.yaml").is_file()
)
"""Inside the package when installed from a wheel, beside it in a checkout."""

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
)
"""Config groups whose options name a class by `_target_`."""


class Stage(Enum):
    """What to run; every stage but `all` needs the ones before it in the store."""

    all = "all"
    train = "train"
    prune = "prune"
    extract = "extract"
    evaluate = "evaluate"
    estimate = "estimate"
    report = "report"


class Endpoints(Enum):
    """Which kind of model gives v(N) and v(empty)."""

    same = "same"
    dense = "dense"


class Device(Enum):
    """Where tensors live."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(Enum):
    """Arithmetic of training and sampling."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass
class Runtime:
    """How things run; see configs/runtime."""

    device: Device = MISSING
    precision: Precision = MISSING
    threads: int = MISSING
    checkpoint_seconds: float = MISSING
    keep_images: bool = MISSING


@dataclass
class Report:
    """What the report shows; see configs/config.yaml."""

    top: int = MISSING
    grid: int = MISSING


@dataclass
class Paths:
    """Where results go; see configs/config.yaml."""

    outputs: str = MISSING


@dataclass
class Schema:
    """Types of everything in configs/config.yaml; the values stand there."""

    name: str = MISSING
    seed: int = MISSING
    stage: Stage = MISSING
    dry_run: bool = MISSING
    replicates: int = MISSING
    endpoints: Endpoints = MISSING
    allow_missing: bool = MISSING
    report: Report = field(default_factory=Report)
    paths: Paths = field(default_factory=Paths)
    runtime: Runtime = field(default_factory=Runtime)
    dataset: Any = MISSING
    partition: Any = MISSING
    model: Any = MISSING
    pruning: Any = MISSING
    finetuning: Any = MISSING
    generation: Any = MISSING
    extractor: Any = MISSING
    property: Any = MISSING
    design: Any = MISSING
    estimator: Any = MISSING
    executor: Any = MISSING


def register() -> None:
    """Make the schema and the one resolver known to Hydra."""
    ConfigStore.instance().store(name="schema", node=Schema)
    OmegaConf.register_new_resolver("process_id", os.getpid, replace=True)


def resolve(composed: DictConfig) -> dict[str, Any]:
    """Return the composed config as plain values, with absolute paths.

    Raises:
        ConfigError: values are missing (all of them are named).
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise ConfigError(
            "these settings have no value yet: " + ", ".join(f"{key}=<value>" for key in missing)
        )
    plain = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
    assert isinstance(plain, dict)
    plain["paths"]["outputs"] = str(Path(plain["paths"]["outputs"]).expanduser().resolve())
    return {str(key): value for key, value in plain.items()}


def build(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that each group of a resolved config describes.

    Everything is checked before anything is built, and all problems are reported together.

    Raises:
        ConfigError: a target cannot be imported, or its arguments do not fit.
    """
    problems = [*_check_settings(config)]
    for group in GROUPS:
        problems += _check_node(group, config[group])
    if not problems:
        built: dict[str, Any] = {}
        for group in GROUPS:
            try:
                built[group] = instantiate(config[group], _convert_="all")
            except InstantiationException as error:
                if not isinstance(error.__cause__, CreditingError):
                    raise
                problems.append(f"{group}: {error.__cause__}")
        if not problems:
            return built
    raise ConfigError("the configuration cannot work:\n  - " + "\n  - ".join(problems))


def refuse_shadowed_options(folders: typing.Sequence[str]) -> None:
    """Refuse user options that bear a built-in's name: Hydra would silently ignore them.

    Raises:
        ConfigError: naming every such option.
    """
    clashes = [
        str(path)
        for folder in folders
        if Path(folder).resolve() != CONFIG_DIR
        for path in sorted(Path(folder).rglob("*.yaml"))
        if (CONFIG_DIR / path.relative_to(folder)).exists()
    ]
    if clashes:
        raise ConfigError(
            "these options of yours bear the name of a built-in one, which would win silently; "
            "give them other names: " + ", ".join(clashes)
        )


def _check_settings(config: Mapping[str, Any]) -> Iterator[str]:
    least = {"seed": 0, "replicates": 1}
    values = {key: config[key] for key in least}
    for section, key, low in (
        ("report", "top", 1),
        ("report", "grid", 1),
        ("runtime", "threads", 1),
    ):
        least[f"{section}.{key}"] = low
        values[f"{section}.{key}"] = config[section][key]
    for key, low in least.items():
        if values[key] < low:
            yield f"{key}: expected {low} or more, got {values[key]}"
    if not config["property"]:
        yield "property: expected at least one, for instance property=[inception_score]"
    if Path(config["name"]).name != config["name"]:
        yield f"name: expected a plain folder name, got {config['name']!r}"


def _check_node(path: str, node: Any) -> Iterator[str]:
    """Yield a message for every target below a node whose arguments do not fit it."""
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        yield from _check_node(f"{path}.{key}", value)
    if "_target_" not in node:
        if path in GROUPS and path != "property":
            yield f"{path}: the option has no _target_, the class that it describes"
        return
    try:
        target = _locate(node["_target_"])
    except (ImportError, AttributeError, ValueError) as error:
        yield f"{path}._target_: cannot import {node['_target_']!r} ({error})"
        return
    yield from _check_arguments(path, target, {k: v for k, v in node.items() if k[0] != "_"})


def _locate(target: str) -> Any:
    module, _, name = target.rpartition(".")
    if not module:
        raise ValueError("expected package.module.Class")
    return getattr(importlib.import_module(module), name)


def _check_arguments(path: str, target: Any, arguments: Mapping[str, Any]) -> Iterator[str]:
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in arguments.items():
        if key not in parameters:
            near = difflib.get_close_matches(key, parameters, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(parameters)}"
            yield f"{path}.{key}: {target.__name__} has no such setting{hint}"
        elif key in hints and not _fits(value, hints[key]):
            yield f"{path}.{key}: expected {_type_name(hints[key])}, got {value!r}"
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            yield f"{path}.{key}: missing; {target.__name__} needs it"


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value fits a type hint; hints beyond plain values fit everything."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in typing.get_args(hint))
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    return True


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("NoneType", "null")
