"""What several test folders share: composing configs, and running the command itself."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import composing
import pytest
from omegaconf import DictConfig

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
Compose = Callable[..., DictConfig]
RunCredit = Callable[..., "subprocess.CompletedProcess[str]"]


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
