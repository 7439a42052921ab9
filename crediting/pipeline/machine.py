"""The device, precision and threads that a process works with."""

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


def _device(asked: str) -> str:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": _has_mps()}
    if asked == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available[asked]:
        there = [name for name, found in available.items() if found]
        raise ConfigError(f"runtime.device: there is no {asked} here, only {', '.join(there)}")
    return asked


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
