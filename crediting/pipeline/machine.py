"""The device, precision and threads that a process works with."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel
from crediting.training.compiling import compiler
from crediting.training.cuda_graphs import CudaTape
from crediting.training.examples import Examples
from crediting.training.trainer import Trainer, make_accelerator

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
    if device == "cuda" and runtime["precision"] == "bf16" and not _computes_in_bf16():
        raise ConfigError(
            f"runtime.precision: bf16 needs a GPU that computes in it (compute capability 8.0 or "
            f"more), got {torch.cuda.get_device_name()}; choose fp16 or fp32"
        )
    if device == "cpu":
        torch.set_num_threads(runtime["threads"])
    else:
        _compute_alike(runtime["deterministic"])
    # accelerate keeps the first device and precision of a process for good: a sweep has several
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = make_accelerator(device, _PRECISIONS[runtime["precision"]])
    if accelerator.device.type != device:
        raise ConfigError(
            f"runtime.device: expected {device}, but accelerate was told to use "
            f"{accelerator.device.type}; unset the environment variables ACCELERATE_..."
        )
    return accelerator


def _computes_in_bf16() -> bool:
    """Whether the GPU does: torch emulates some of it on older ones, and then fails elsewhere."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _compute_alike(wanted: bool) -> None:
    """Have the GPU add in the same order at every run, or in whichever is fastest."""
    if wanted:  # read when cuBLAS starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    # gradients of fused attention come in any order, unless what has no order at all is an error
    attention = torch.backends.cuda
    for fused in ("enable_flash_sdp", "enable_mem_efficient_sdp", "enable_cudnn_sdp"):
        getattr(attention, fused)(not wanted)


@contextmanager
def all_bits() -> Iterator[None]:
    """Compute convolutions in full single precision, which torch by default rounds on a GPU."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):
        yield


def make_trainer(
    examples: Examples, model: DiffusionModel, accelerator: Accelerator, runtime: Mapping[str, Any]
) -> Trainer:
    """Return what trains denoisers of a family on examples, the way that `runtime` asks for."""
    return Trainer(
        examples,
        model.noise_scheduler(),
        accelerator,
        runtime["gradient_checkpointing"],
        compiler(runtime["compile"]),
        CudaTape if runtime["cuda_graphs"] and accelerator.device.type == "cuda" else None,
    )


def placed(denoiser: nn.Module, device: torch.device, runtime: Mapping[str, Any]) -> nn.Module:
    """Return a denoiser on a device, its weights in the memory order that `runtime` asks for."""
    if runtime["channels_last"]:
        return denoiser.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return denoiser.to(device)


def release_memory() -> None:
    """Give back what finished work of this process leaves reserved on the GPU: workers need it."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def wait_for_the_gpu() -> None:
    """Return when the GPU, if this process uses one, has done all that it was asked for."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def capacity(runtime: Mapping[str, Any]) -> int:
    """Return how many evaluators this machine can well hold: one per GPU, or else per core."""
    if _device(runtime["device"]) == "cuda":
        return max(1, len(gpus(runtime)))
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, cores // runtime["threads"])


def gpus(runtime: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the GPUs to work on, each as CUDA_VISIBLE_DEVICES names it; none on the CPU."""
    if _device(runtime["device"]) != "cuda":
        return ()
    found = torch.cuda.device_count()
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return tuple(map(str, range(found)))
    names = [name.strip() for name in allowed.split(",")]
    # a process can use but one slice of a GPU (MIG), so torch counts one however many are listed
    slices = all(name.startswith("MIG-") for name in names)
    return tuple(names if slices else names[:found])  # CUDA ends the list at a name it rejects


def training_processes(runtime: Mapping[str, Any]) -> int:
    """Return how many processes share a training: as asked, where auto is one per GPU.

    Raises:
        ConfigError: there are fewer GPUs.
    """
    asked = runtime["training_processes"]
    if _device(runtime["device"]) != "cuda":
        return 1 if asked == "auto" else int(asked)
    found = torch.cuda.device_count()
    if asked != "auto" and asked > found:
        raise ConfigError(
            f"runtime.training_processes: expected at most one per GPU, of which {found} can be "
            f"used together here, got {asked}; set it to auto, or runtime.device=cpu"
        )
    return found if asked == "auto" else int(asked)


def _device(asked: str) -> str:
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    if asked == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if not available[asked]:
        there = [name for name, found in available.items() if found]
        raise ConfigError(f"runtime.device: there is no {asked} here, only {', '.join(there)}")
    return asked
