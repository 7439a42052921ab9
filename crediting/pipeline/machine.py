"""The device, precision and threads that a process works with."""

import gc
import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

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
    # accelerate keeps the first device and precision of a process for good: a sweep has several
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = make_accelerator(device, _PRECISIONS[runtime["precision"]])
    if accelerator.device.type != device:
        raise ConfigError(
            f"runtime.device: expected {device}, but accelerate was told to use "
            f"{accelerator.device.type}; unset the environment variables ACCELERATE_..."
        )
    return accelerator


def release_memory() -> None:
    """Give back what finished work of this process leaves reserved on the GPU: workers need it."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


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
