"""What can be said against an option of a group before anything is built: does it fit its class?

Every check yields messages, so that all problems are reported together.
"""

import importlib
import inspect
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

from crediting.errors import did_you_mean

SEVERAL = {"extractor": "inception_v3", "property": "inception_score", "baseline": ""}
"""Groups of which any number of options is chosen, each under its own name; with an example.

Where that is empty, so may the group be.
"""


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
    except ImportError:  # told of when it is built
        return {}


def _takes_floats_only(hint: Any) -> bool:
    choices = typing.get_args(hint) or (hint,)
    return float in choices and int not in choices


def _node_problems(path: str, node: Any, must_name_class: bool = False) -> Iterator[str]:
    parts = node.items() if isinstance(node, Mapping) else enumerate(node if _is_list(node) else ())
    for key, value in parts:
        yield from _node_problems(f"{path}.{key}", value)
    if isinstance(node, Mapping) and "_target_" in node:
        yield from _target_problems(path, node)
    elif must_name_class:
        yield f"{path}: expected a _target_, the class that it describes, got {node!r}"


def _target_problems(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    try:
        target = _import(node["_target_"])
    except ImportError as error:
        advice = _found_by(error, node)
        yield f"{path}._target_: cannot import {node['_target_']!r}: {error}{advice}"
    else:
        if not callable(target):
            yield f"{path}._target_: expected a class, got {target!r}"
            return
        yield from _argument_problems(path, target, node)


def _found_by(error: ImportError, node: Mapping[str, Any]) -> str:
    """Return how Python finds the module or package that a target begins with, if it does not."""
    if error.name != str(node["_target_"]).partition(".")[0]:
        return ""
    return "; install it, or name the folder that holds it in PYTHONPATH (PYTHONPATH=. credit ...)"


def _import(target: Any) -> Any:
    module_name, _, name = str(target).rpartition(".")
    if not module_name or module_name.startswith("."):
        raise ImportError("expected package.module.Class")
    module = importlib.import_module(module_name)
    if not hasattr(module, name):
        public = [known for known in vars(module) if known[0].isupper()]
        raise ImportError(f"{module_name} has no {name}; {did_you_mean(name, public)}")
    return getattr(module, name)


def _argument_problems(path: str, target: Any, node: Mapping[str, Any]) -> Iterator[str]:
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # much of what is written in C does not tell
        return
    name = str(node["_target_"]).rpartition(".")[2]
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    takes_anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(target)
    for key, value in arguments.items():
        if key not in parameters and not takes_anything:
            advice = did_you_mean(key, parameters)
            yield f"{path}.{key}: {name} has no such setting; {advice}"
        elif key in hints and not _fits(value, hints[key]):
            yield f"{path}.{key}: expected {_readable(hints[key])}, got {value!r}"
    for key, parameter in parameters.items():
        named = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if named and parameter.default is parameter.empty and key not in arguments:
            yield f"{path}.{key}: missing; {name} needs it"


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, AttributeError, TypeError):  # for type checkers only, or there can be none
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
        of_values = choices[1] if len(choices) == 2 else Any
        return isinstance(value, Mapping) and all(_fits(one, of_values) for one in value.values())
    if origin in (Iterable, Collection) or issubclass(origin, Sequence):
        return _is_list(value)
    # a path, say, or the object that a _target_ describes
    return isinstance(value, str) or (isinstance(value, Mapping) and "_target_" in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _readable(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return str(hint).replace("NoneType", "null").replace("None", "null").replace("typing.", "")
