"""Miniature files in the published formats."""

import importlib.util
from pathlib import Path

import pytest

MINIATURE_FILES = Path(__file__).parents[2] / "scripts" / "miniature_files.py"


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A folder that holds miniature files in the published formats, under `miniature`."""
    spec = importlib.util.spec_from_file_location("miniature_files", MINIATURE_FILES)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("published")
    script.write(folder / "miniature", inception=False)
    return folder
