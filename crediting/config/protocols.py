"""Whether an object is what its config group stands for, by the protocols of interfaces.py."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from crediting import interfaces

PROTOCOLS: Mapping[str, type] = {
    "dataset": interfaces.Dataset,
    "partition": interfaces.Partitioner,
    "model": interfaces.DiffusionModel,
    "pruning": interfaces.Pruning,
    "finetuning": interfaces.FineTuning,
    "generation": interfaces.Generation,
    "extractor": interfaces.Extractor,
    "property": interfaces.Property,
    "design": interfaces.Design,
    "estimator": interfaces.Estimator,
    "baseline": interfaces.Baseline,
    "executor": interfaces.Executor,
}
"""By group. Whether a member does what it should, only its use can tell."""


def part_problems(group: str, part: Any) -> Iterator[str]:
    """Yield a message if an object, or one of several by name, lacks what its group asks for."""
    parts = part if isinstance(part, Mapping) else {"": part}
    protocol = PROTOCOLS[group]
    for name, one in parts.items():
        lacking = sorted(member for member in members(protocol) if not hasattr(one, member))
        if lacking:
            yield (
                f"{group}{'.' if name else ''}{name}: {type(one).__name__} has no "
                f"{', '.join(lacking)}; {protocol.__name__} in crediting/interfaces.py says what "
                "is needed"
            )
        for member in _tuples(protocol):
            if isinstance(text := getattr(one, member, ()), str):
                yield (
                    f"{group}{'.' if name else ''}{name}: {member} of {type(one).__name__} must be "
                    f"a tuple of names, got the text {text!r}; for one name write ({text!r},)"
                )


def _tuples(protocol: type) -> Iterator[str]:
    """Yield the attributes that hold several names; of a text every letter would pass for one."""
    for name, kind in inspect.get_annotations(protocol).items():
        if "tuple[str" in str(kind):
            yield name


def members(protocol: type) -> set[str]:
    """Return the names of the methods and attributes that a protocol asks for."""
    return {
        name
        for one in protocol.__mro__
        if getattr(one, "_is_protocol", False)
        for name in (*inspect.get_annotations(one), *vars(one))
        if not name.startswith("_") or name == "__call__"
    }
