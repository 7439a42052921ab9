"""What several test folders share: composing configs, and running the command itself."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig

from crediting import config

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

    def compose_config(*overrides: str) -> DictConfig:
        config.register()
        with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
            return hydra_compose("config", config.of_this_experiment(overrides))

    return compose_config


@pytest.fixture(scope="session")
def resolved(compose: Compose) -> Callable[..., dict[str, Any]]:
    """Return `resolved(*overrides)`: the same as plain values, as the stages see it."""
    return lambda *overrides: config.resolve(compose(*overrides))


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
