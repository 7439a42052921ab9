"""Names of properties, which files are called after: shapley_<property>.csv and others."""

from pathlib import Path

LONGEST = 200
"""Bytes; file systems allow 255, of which some are added."""


def can_name_files(name: str) -> bool:
    """Return whether a name can be a part of the name of a file."""
    return Path(name).name == name and len(name.encode()) <= LONGEST
