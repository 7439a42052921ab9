"""What an error that nobody foresaw has passed through: parts of the user's own run among ours."""

from collections.abc import Iterator, Mapping
from traceback import walk_tb
from typing import Any

from omegaconf import DictConfig, OmegaConf


def note_own_part(error: BaseException, composed: DictConfig) -> None:
    """Add to an error which code that is not ours it has passed through, and what names that."""
    passed = {str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)}
    named: dict[str, list[str]] = {}
    for key, target in _targets(OmegaConf.to_container(composed), ""):
        module = target.rpartition(".")[0]
        ours = target.startswith("crediting.")
        if not ours and any(f"{name}.".startswith(f"{module}.") for name in passed):
            named.setdefault(module, []).append(key)
    for module, keys in named.items():
        error.add_note(
            f"It passed through {module}, no part of crediting, named by {', '.join(keys)}."
        )


def _targets(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of every class that a config names."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield f"{path}{key}", str(value)
            yield from _targets(value, f"{path}{key}.")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _targets(value, f"{path}{place}.")
