"""What several test folders share: composing configs, and running the command itself."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import composing
import pytest
from credit_forks import Forks
from omegaconf import DictConfig

# as make test has it: with more threads sums differ in the last bit (torch reads it when imported)
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.set_threshold(100_000, 20, 20)  # a library of this size is looked through for seconds otherwise

MINIATURE = (
    "partition=by_shards",
    "partition.contributors=4",
    "model.training.steps=8",
    "plan.recovery_steps=4",
    "plan.finetuning_steps=2",
    "plan.coalitions=12",
    "generation.images=8",
    "generation.steps=2",
    "extractor.reference_classifier.steps=5",
    "executor=serial",
    "runtime.device=cpu",
)
NOBODY_LISTENS = "http://127.0.0.1:9"
Compose = Callable[..., DictConfig]
RunCredit = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that all workers have work until the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def no_compiler(monkeypatch):
    """Let torch find no compiler for the code that it generates."""
    from torch._inductor import cpp_builder, exc

    def none() -> None:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)


@pytest.fixture(scope="session")
def miniature() -> tuple[str, ...]:
    """The overrides of a whole study on the digits that takes seconds."""
    return MINIATURE


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Return `compose(*overrides)`: the config that `credit` would compose from them."""

    return composing.composed


@pytest.fixture(scope="session")
def resolved() -> Callable[..., dict[str, Any]]:
    """Return `resolved(*overrides)`: the same as plain values, as the stages see it."""
    return composing.resolved


@pytest.fixture(scope="session")
def run_credit() -> RunCredit:
    """Return `run_credit(*args, cwd, env)`: `credit` in a process of its own, its output caught."""

    def run(
        *args: str | Iterable[str], cwd: Path | str, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        words = [word for arg in args for word in ([arg] if isinstance(arg, str) else arg)]
        return subprocess.run(
            [sys.executable, "-m", "crediting", *words],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def undurable(monkeypatch):
    """Nothing waits for the disk."""
    from undurable import spare_the_disk

    spare_the_disk(monkeypatch.setattr)


@pytest.fixture
def answered_once(monkeypatch):
    """What studies ask alike is worked out once."""
    from answered_once import answer_once

    answer_once(monkeypatch.setattr)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made, but not drawn, which takes seconds; tests of reporting draw them all."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: Path(path).write_text("drawn"))


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
