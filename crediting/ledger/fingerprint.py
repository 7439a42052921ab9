"""Fingerprints: the address of a result is a digest of everything that produced it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SCHEMA_VERSION = 1
"""Part of every fingerprint. Raise it when the same content would now lead to another result (a
stage computes something else) or to other files (a stage writes another format): everything stored
before is then left alone and made again under a new address. Never raise it for a change that
leaves results as they are."""

SHORT_LENGTH = 16
"""Hexadecimal digits of a fingerprint that name a folder."""


def fingerprint(stage: str, content: Mapping[str, Any], parents: Sequence[str] = ()) -> str:
    """Return the sha256, in 64 hexadecimal digits, of a stage, its content and its parents.

    Content is made of mappings with text keys, lists, tuples (equal to lists), text, booleans,
    numbers, numpy scalars and None. The order of keys does not matter, that of parents does.

    Raises:
        TypeError: the content holds anything else; the message names the key.
    """
    identity = {
        "schema": SCHEMA_VERSION,
        "stage": stage,
        "content": content,
        "parents": list(parents),
    }
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


def short(full_fingerprint: str) -> str:
    """Return the first digits of a fingerprint, as used in the names of folders."""
    return full_fingerprint[:SHORT_LENGTH]


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no whitespace, floats by `repr`.

    Raises:
        TypeError: the value holds something that `as_plain` refuses.
    """
    return json.dumps(as_plain(value), sort_keys=True, separators=(",", ":"))


def as_plain(value: Any, where: str = "") -> Any:
    """Return a value with tuples as lists and numpy scalars as Python's; `where` names its key.

    Raises:
        TypeError: the value, or something in it, is neither data nor a container of data.
    """
    if isinstance(value, Mapping):
        return {
            _text_key(key, where): as_plain(item, f"{where}.{key}") for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [as_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{where.lstrip('.') or 'the value'} is a {type(value).__name__}, not plain data"
    )


def _text_key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"{where.lstrip('.') or 'the value'} has the key {key!r}, which is not text")
