"""What a device reaches at best, and how much of it a network does."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crediting.pipeline.machine import wait_for_the_gpu


class Rates:
    """What the device reaches at best: operations per second, and bytes per second."""

    def __init__(self, device: torch.device, precision: str) -> None:
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        size = 8192 if device.type == "cuda" else 1024
        a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
        repeats = 20
        timed(lambda: a @ b)
        _, work = timed(lambda: [a @ b for _ in range(repeats)])
        self.operations = 2 * size**3 * repeats / work
        large = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device)
        _, moved = timed(lambda: [large.clone() for _ in range(repeats)])
        self.bytes = 2 * large.nbytes * repeats / moved
        print(
            f"matrix products {self.operations / 1e12:.2f} TFLOP/s, memory "
            f"{self.bytes / 1e9:.0f} GB/s"
        )

    def shares(self, denoiser: nn.Module, parts: dict[str, Any], cost: Any) -> dict[str, float]:
        """Return what training and drawing reach, as shares of the rate of matrix products.

        `cost` holds the seconds of a training step and of an image.
        """
        batch, generation = parts["finetuning"].recipe.batch_size, parts["generation"]
        inputs = parts["model"].example_inputs(denoiser)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            denoiser(**inputs)
        forward = counter.get_total_flops()
        calls = generation.steps * (1 if generation.prompts is None else 2)
        training = 3 * forward * batch / cost.step / self.operations
        drawing = forward * calls / cost.image / self.operations
        print(
            f"      {forward / 1e9:.1f} GFLOP per prediction; of matrix products: training "
            f"{training:.0%}, drawing {drawing:.0%}"
        )
        return {"arithmetic of training": training, "arithmetic of drawing": drawing}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what some work returns, and the seconds it took."""
    wait_for_the_gpu()
    started = time.perf_counter()
    result = work()
    wait_for_the_gpu()
    return result, time.perf_counter() - started
