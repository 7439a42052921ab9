"""The door to Hydra: where configs live, and how they become plain values and objects.

Only this module, `schema`, `help_text`, `words` and `cli` know of hydra and omegaconf. Everything
beyond receives plain values.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from crediting import help_text
from crediting.errors import ConfigError, CreditingError
from crediting.protocols import part_problems
from crediting.schema import Schema
from crediting.validation import (
    did_you_mean,
    methods_of_steps,
    methods_problems,
    option_problems,
    settings_problems,
)
from crediting.words import unreadable

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
    "baseline",
)
"""Config groups whose options name a class by `_target_`."""

_OF_SEVERAL = ("extractor", "property")
"""Groups of which several options are chosen, and at least one."""

Altered = tuple[dict[str, Any], dict[str, Any]]
"""A whole config of which some groups are otherwise, and the parts with them."""

METHOD_GROUPS = ("pruning", "finetuning", "design", "estimator")
"""What may be otherwise in a method that credits are compared with."""


def register() -> None:
    """Make the schema known to Hydra, what `credit --help` lists, and `${shipped:<path>}`.

    That is a file beside the options, wherever the package is installed.
    """
    ConfigStore.instance().store(name="schema", node=Schema)
    help_text.register()
    OmegaConf.register_new_resolver("shipped", lambda name: str(CONFIG_DIR / name), replace=True)


def of_this_experiment(words: Sequence[str]) -> list[str]:
    """Return a command line in which `+size=s` means what it does for the experiment beside it.

    The option is then `+size/s=<experiment>`: Hydra lets no appended group depend on another. It
    stands behind the experiment, over which it wins.

    Raises:
        ConfigError: no experiment is chosen, or several are.
    """
    words = list(words)
    sizes = [place for place, word in enumerate(words) if word.startswith("+size=")]
    chosen = [place for place, word in enumerate(words) if word.startswith("+experiment=")]
    for size in sizes:
        if len(chosen) != 1 or "," in words[chosen[0]]:
            raise ConfigError(f"{words[size]}: it makes one experiment small; add +experiment=...")
        name, experiment = (words[at].partition("=")[2] for at in (size, chosen[0]))
        known = sorted(path.name for path in (CONFIG_DIR / "size").iterdir())
        if name not in known:
            raise ConfigError(f"{words[size]}: there is no such size; known: {', '.join(known)}")
        words[size] = f"+size/{name}={experiment}"
        if size < chosen[0]:
            words[size], words[chosen[0]] = words[chosen[0]], words[size]
    return words


def config_dirs(folders: Sequence[str]) -> list[str]:
    """Return the words by which a command line names the folder of a user's own options."""
    own = [folder for folder in folders if Path(folder).resolve() != CONFIG_DIR]
    return [word for folder in own for word in ("--config-dir", folder)]


def resolve(composed: DictConfig) -> dict[str, Any]:
    """Return the composed config as plain values, with absolute paths.

    Raises:
        ConfigError: values are missing (all of them are named), unknown or refer to nothing.
    """
    written = OmegaConf.to_container(composed)
    missing = sorted(_missing(written))
    if missing:
        listed = ", ".join(map(_example, missing))
        raise ConfigError(f"these settings have no value yet: {listed}")
    try:
        # once more against the schema: `+key=value` adds keys that it does not know
        checked = OmegaConf.merge(OmegaConf.structured(Schema), written)
        plain = OmegaConf.to_container(checked, resolve=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(plain, dict)
    plain["paths"]["outputs"] = _absolute("paths.outputs", plain["paths"]["outputs"])
    if plain["game"]["path"]:
        plain["game"]["path"] = _absolute("game.path", plain["game"]["path"])
    return {str(key): value for key, value in plain.items()}


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
            raise ConfigError(f"method.{name}: {error}") from error
    return found


def alterations(
    config: Mapping[str, Any], parts: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], Altered]:
    """Return what lays settings of whole groups over those of a study; it raises as `build`."""

    def altered(groups: Mapping[str, Any]) -> Altered:
        settings = {**config, **groups}
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


def refuse_shadowed_options(folders: Sequence[str]) -> None:
    """Refuse user options that bear a built-in's name: Hydra would silently ignore them.

    Args:
        folders: every folder that Hydra searches, CONFIG_DIR among them unless it was replaced.

    Raises:
        ConfigError: naming every such option.
    """
    searched = [Path(folder).resolve() for folder in folders]
    if CONFIG_DIR not in searched:
        return
    built_in = [path.relative_to(CONFIG_DIR) for path in sorted(CONFIG_DIR.rglob("*.yaml"))]
    clashes = [
        str(folder / path)
        for folder in searched
        if folder != CONFIG_DIR
        for path in [*built_in, Path("schema.yaml")]
        if (folder / path).exists()
    ]
    if clashes:
        raise ConfigError(
            "these options of yours bear the name of a built-in one, which would win silently; "
            "give them other names: " + ", ".join(clashes)
        )


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
        known = [key for key in error.parent_node or () if key != "hydra"]
        advice = did_you_mean(str(error.key), known)
        return f"{where}{error.full_key}: there is no such setting; {advice}"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        where += f"{error.full_key}: "
    said = re.split(r"\n\s*(?:full_key|Config search path)", str(error))[0].strip()
    single = re.fullmatch(
        r"Invalid value assigned: \w+ is not a ListConfig, list or tuple\.?", said
    )
    return where + ("expected a list, for instance of one: [value]" if single else said)


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
    return f"{key}=[<option>, ...]" if key in _OF_SEVERAL else f"{key}=<value>"


def _absolute(key: str, path: str) -> str:
    if not path:
        raise ConfigError(f"{key}: expected a path, got ''")
    return str(Path(path).expanduser().resolve())


def _refuse(problems: Iterable[str]) -> None:
    listed = list(problems)
    if listed:
        raise ConfigError("the configuration cannot work:\n  - " + "\n  - ".join(listed))


def _located(group: str, instantiation_error: str, message: str) -> str:
    """Return a constructor's message with the full key in front, unless it names the key itself."""
    if message.startswith(f"{group}."):
        return message
    nested = re.search(r"full_key: (\S+)", instantiation_error)
    path = f"{group}.{nested[1]}" if nested else group
    return f"{path}.{message}" if re.match(r"\w+: ", message) else f"{path}: {message}"
