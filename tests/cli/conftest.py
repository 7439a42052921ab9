"""The command many times over, cut off from the network and from what this machine has cached."""

import importlib.util
from pathlib import Path

import pytest
from credit_forks import Forks

MINIATURE_FILES = Path(__file__).parents[2] / "scripts" / "miniature_files.py"
NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def cut_off(tmp_path_factory):
    """The environment of a machine without network, on which nothing was ever fetched."""
    caches = tmp_path_factory.mktemp("caches")
    return {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(caches / "hub"),
        "TORCH_HOME": str(caches / "torch"),
        "http_proxy": NOBODY_LISTENS,
        "https_proxy": NOBODY_LISTENS,
        "no_proxy": "",
    }


@pytest.fixture(scope="session")
def credit(cut_off):
    """Return `credit(*words, cwd=folder)`: as `run_credit` does, but imported only once."""
    with Forks(cut_off) as forks:
        yield forks


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A folder that holds miniature files in the published formats, under `miniature`."""
    spec = importlib.util.spec_from_file_location("miniature_files", MINIATURE_FILES)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("published")
    script.write(folder / "miniature", inception=False)
    return folder
