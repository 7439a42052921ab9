"""The device, precision and threads that a process works with."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator

from crediting.errors import ConfigError
from crediting.training import make_accelerator

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def open_machine(runtime: Mapping[str, Any]) -> Accelerator:
    """Set the threads of this process and return its accelerator.

    Raises:
        ConfigError: the device asked for is not there, or cannot do the precision.
    """
    device = _device(runtime["device"])
    if device != "cuda" and runtime["precision"] == "fp16":
        raise ConfigError(
            f"runtime.precision: fp16 needs a CUDA device, got {device}; choose fp32 or bf16"
        )
    if device == "cpu":
        torch.set_num_threads(runtime["threads"])
    return make_accelerator(device, _PRECISIONS[runtime["precision"]])


def capacity(runtime: Mapping[str, Any]) -> int:
    """Return how many evaluators this machine can well hold: one per core, or one on a GPU."""
    if _device(runtime["device"]) == "cuda":
        return 1
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, cores // runtime["threads"])


def _device(asked: str) -> str:
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    if asked == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available[asked]:
        there = [name for name, found in available.items() if found]
        raise ConfigError(f"runtime.device: there is no {asked} here, only {', '.join(there)}")
    return asked
