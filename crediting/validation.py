"""What can be said against a resolved config before anything is built or run.

Every check yields messages, so that all problems are reported together.
"""

import difflib
import importlib
import inspect
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

SEVERAL = {"extractor": "inception_v3", "property": "inception_score", "baseline": ""}
"""Groups of which any number of options is chosen, each under its own name; with an example.

Where that is empty, so may the group be.
"""

COMPILE_MODES = ("default", "max-autotune")  # as training.compiling knows them
_LONGEST_NAME = 200  # bytes; file systems allow 255
_LEAST = {
    "seed": 0,
    "replicates": 1,
    "report.top": 1,
    "report.grid": 1,
    "compare.coalitions": 2,
    "compare.trainings": 1,
    "compare.random": 0,
    "compare.agreement": 0,
    "calibrate.coalitions": 3,
    "calibrate.replicates": 2,
    "runtime.threads": 1,
    "runtime.checkpoint_seconds": 0,
}


def settings_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for every plain setting that cannot work."""
    for key, least in _LEAST.items():
        value: Any = config
        for part in key.split("."):
            value = value[part]
        if value < least:
            yield f"{key}: expected {least} or more, got {value}"
    for group, node in config.items():
        seed = node.get("seed", 0) if isinstance(node, Mapping) else 0
        if isinstance(seed, int) and seed < 0 and seed != config["seed"]:
            yield f"{group}.seed: expected 0 or more, got {seed}"
    mode = config["runtime"]["compile"]
    if mode is not None and mode not in COMPILE_MODES:
        yield f"runtime.compile: expected null or one of {', '.join(COMPILE_MODES)}, got {mode!r}"
    processes = config["runtime"]["training_processes"]
    if processes != "auto" and not (isinstance(processes, int) and processes > 0):
        yield (
            f"runtime.training_processes: expected a positive integer or auto, got {processes!r}"
        )
    yield from _stack_problems(config["runtime"])
    yield from _stop_problems(config["stop"])
    yield from _share_problems(config["compare"])
    yield from _calibrate_problems(config["calibrate"])
    yield from _compare_problems(config["compare"])
    name = config["name"]
    if name in ("", ".", "..") or Path(name).name != name:
        yield f"name: expected a plain folder name, got {name!r}"
    elif len(name.encode()) > _LONGEST_NAME:
        yield f"name: expected at most {_LONGEST_NAME} bytes, got {len(name.encode())}; shorten it"


def _stack_problems(runtime: Mapping[str, Any]) -> Iterator[str]:
    stack = runtime["stack"]
    if stack != "auto" and not (isinstance(stack, int) and stack > 0):
        yield f"runtime.stack: expected a positive integer or auto, got {stack!r}"
    elif stack != 1 and runtime["gradient_checkpointing"]:
        yield (
            "runtime.gradient_checkpointing: expected false where coalitions are trained in stacks "
            f"(runtime.stack={stack}), which cannot be done with it; set runtime.stack=1, which "
            "takes less memory, too"
        )


def _stop_problems(stop: Mapping[str, Any]) -> Iterator[str]:
    for key, value in stop.items():
        highest = 1 if key == "rank_stability" else math.inf
        if value is not None and not 0 < value <= highest:
            limit = " and at most 1" if highest == 1 else ""
            yield f"stop.{key}: expected a number above 0{limit}, or null for never; got {value}"


def _share_problems(compare: Mapping[str, Any]) -> Iterator[str]:
    if not compare["alphas"]:
        yield "compare.alphas: expected at least one size, at which scores are ranked; got none"
    for key in ("alphas", "remove", "keep"):
        for share in compare[key]:
            if not 0 < share < 1:
                yield f"compare.{key}: expected shares between 0 and 1, got {share}"


def _calibrate_problems(calibrate: Mapping[str, Any]) -> Iterator[str]:
    for key in ("finetuning_steps", "generation_steps", "sampler_steps", "images"):
        for value in calibrate[key]:
            if not 0 < value < math.inf or (value > 1 and value != int(value)):
                yield (
                    f"calibrate.{key}: expected whole numbers, or shares below 1 of what the study "
                    f"has, got {value:g}"
                )
    if not -1 <= calibrate["agreement"] <= 1:
        yield f"calibrate.agreement: expected a number in [-1, 1], got {calibrate['agreement']}"


def methods_problems(config: Mapping[str, Any], groups: Sequence[str]) -> Iterator[str]:
    """Yield a message for everything that does not fit in what a study is compared with.

    `groups` are those in which a method may be otherwise than the study.
    """
    for name, node in config["method"].items():
        if not isinstance(node, Mapping) or not set(node) <= set(groups):
            yield (
                f"method.{name}: expected what it has otherwise than the study, of "
                f"{', '.join(groups)}; got {node!r}"
            )
    compare = config["compare"]
    if compare["steps"] and "steps" not in config["finetuning"].get("recipe", {}):
        yield "compare.steps: this finetuning has no steps; leave compare.steps empty"
    named = ["own", "truth", *config["method"], *methods_of_steps(compare)]
    named += [*config["baseline"], *compare["scores"]]
    for name in {name for name in named if named.count(name) > 1}:
        yield (
            f"{name}: used more than once among methods, baselines and scores, where own and "
            "truth are taken; rename one"
        )
    uncredited = () if compare["credits_of_steps"] else methods_of_steps(compare)
    able = [name for name in named if name not in ("truth", *uncredited)]
    for name in compare["removals"]:
        if name not in able:
            yield f"compare.removals: there is no {name}; {did_you_mean(name, able)}"


def methods_of_steps(compare: Mapping[str, Any]) -> dict[str, int]:
    """Return the names of the fine-tunings that compare.steps asks for, and their steps."""
    return {f"steps_{count}": count for count in compare["steps"]}


def _compare_problems(compare: Mapping[str, Any]) -> Iterator[str]:
    for count in compare["steps"]:
        if count < 1:
            yield f"compare.steps: expected 1 or more, got {count}"
    for name, node in compare["scores"].items():
        if not isinstance(node, str) and not _is_noted(node):
            yield (
                f"compare.scores.{name}: expected the path of a .csv, or "
                f"{{file: <the .csv>, note: <a sentence>}}; got {node!r}"
            )


def _is_noted(node: Any) -> bool:
    texts = isinstance(node, Mapping) and all(isinstance(value, str) for value in node.values())
    return texts and set(node) == {"file", "note"}


def option_problems(group: str, node: Any) -> Iterator[str]:
    """Yield a message for everything in a group's option that does not fit the class it names."""
    if not isinstance(node, Mapping):
        yield f"{group}: expected an option of this group, got {node!r}; try {group}=<option>"
    elif group not in SEVERAL:
        yield from _node_problems(group, node, must_name_class=True)
    elif not node and SEVERAL[group]:
        yield f"{group}: expected at least one, for instance {group}=[{SEVERAL[group]}]"
    elif "_target_" in node:
        yield (
            f"{group}: of it several may be chosen, so every option of yours begins with its name: "
            f"put {node['_target_']} under one, <name>: {{_target_: ...}}"
        )
    else:
        for name, one in node.items():
            yield from _node_problems(f"{group}.{name}", one, must_name_class=True)


def typed(node: Any) -> Any:
    """Return a part of a config with whole numbers as floats where a class takes floats.

    0 and 0.0 are then one setting, and lead to the same results in the store.
    """
    if isinstance(node, Mapping):
        hints = _hints_of(node)
        return {
            key: float(value)
            if type(value) is int and _takes_floats_only(hints.get(key))
            else typed(value)
            for key, value in node.items()
        }
    return [typed(one) for one in node] if isinstance(node, list) else node


def _hints_of(node: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return _hints(_import(node["_target_"])) if "_target_" in node else {}
    except (ImportError, TypeError):  # told of when it is built
        return {}


def _takes_floats_only(hint: Any) -> bool:
    choices = typing.get_args(hint) or (hint,)
    return float in choices and int not in choices


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return advice on a misspelt word: the nearest known one, or all of them."""
    candidates = [str(candidate) for candidate in known]
    near = difflib.get_close_matches(word, candidates, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(candidates)}" if candidates else "there are none"


def _node_problems(path: str, node: Any, must_name_class: bool = False) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _node_problems(f"{path}.{key}", value)
    if isinstance(node, Mapping) and "_target_" in node:
        yield from _target_problems(path, node)
    elif must_name_class:
        yield f"{path}: expected a _target_, the class that it describes, got {node!r}"


def _target_problems(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    try:
        target = _import(node["_target_"])
    except ImportError as error:
        yield f"{path}._target_: cannot import {node['_target_']!r}: {error}"
    else:
        if not callable(target):
            yield f"{path}._target_: expected a class, got {target!r}"
            return
        arguments = {key: value for key, value in node.items() if not key.startswith("_")}
        yield from _argument_problems(path, target, arguments)


def _import(target: Any) -> Any:
    module_name, _, name = str(target).rpartition(".")
    if not module_name:
        raise ImportError("expected package.module.Class")
    module = importlib.import_module(module_name)
    if not hasattr(module, name):
        public = [known for known in vars(module) if known[0].isupper()]
        raise ImportError(f"{module_name} has no {name}; {did_you_mean(name, public)}")
    return getattr(module, name)


def _argument_problems(path: str, target: Any, arguments: Mapping[str, Any]) -> Iterator[str]:
    parameters = inspect.signature(target).parameters
    takes_anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(target)
    for key, value in arguments.items():
        if key not in parameters and not takes_anything:
            advice = did_you_mean(key, parameters)
            yield f"{path}.{key}: {target.__name__} has no such setting; {advice}"
        elif key in hints and not _fits(value, hints[key]):
            yield f"{path}.{key}: expected {_readable(hints[key])}, got {value!r}"
    for key, parameter in parameters.items():
        named = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if named and parameter.default is parameter.empty and key not in arguments:
            yield f"{path}.{key}: missing; {target.__name__} needs it"


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError:  # a hint that is imported for type checkers only
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value fits a type hint; what only its class can judge fits."""
    origin, choices = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in choices)
    if origin is Literal:
        return value in choices
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool, type(None)):
        return isinstance(value, hint)
    if hint in (Any, object) or not isinstance(origin, type):
        return True
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if issubclass(origin, Sequence):
        return isinstance(value, Sequence) and not isinstance(value, str)
    return isinstance(value, str | Mapping)  # a path, say, or the object that a _target_ describes


def _readable(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return str(hint).replace("NoneType", "null").replace("None", "null").replace("typing.", "")
