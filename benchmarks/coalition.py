"""What one coalition of an experiment costs, against the straightforward loop and the device.

    python benchmarks/coalition.py [--experiment cifar_ddpm] [--steps 50] [--images 1024] ...

Builds the experiment's U-Net at full size with random weights, prunes it, then times fine-tuning
steps on random images and the drawing of images: cost depends neither on pixels nor on weights. One
coalition is put together from the experiment's own numbers of steps and images. The reference is
the straightforward loop (plain_loop.py) with the pruned model, in single precision. Arithmetic is
counted and told as a share of the rate of matrix products that the device reaches in the same run.
Overrides follow as for `credit`, such as runtime.precision=bf16 runtime.compile=default.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import plain_loop
import torch
from accelerate import Accelerator
from hydra import compose, initialize_config_dir
from table import row
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crediting import config
from crediting.examples import Examples
from crediting.loss import DenoisingLoss, FixedTimestepLoss
from crediting.pipeline.machine import make_trainer, open_machine, placed
from crediting.randomness import Stream
from crediting.training import Trainer

WARM_UP = 2


class Cost(NamedTuple):
    """Seconds per training step and per generated image; peak bytes on a GPU, else 0."""

    step: float
    image: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiment", default="cifar_ddpm")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--without-reference", action="store_true")
    arguments, overrides = parser.parse_known_args()
    chosen = [] if arguments.experiment == "digits" else [f"+experiment={arguments.experiment}"]
    plain, parts = build([*chosen, *overrides])
    machine = open_machine(plain["runtime"])
    device, model, recipe = machine.device, parts["model"], parts["finetuning"].recipe
    examples = synthetic(model, recipe.batch_size, device)
    trainer = make_trainer(examples, model, machine, plain["runtime"])
    dense = placed(model.untrained(0), device, plain["runtime"])
    loss = FixedTimestepLoss(DenoisingLoss(examples, model.noise_scheduler()), Stream(0))
    pruned, _ = parts["pruning"].prune(dense, model, loss)
    print(f"{name_of(device)}, {plain['runtime']['precision']}, batch {recipe.batch_size}")
    whole = (recipe.steps, parts["generation"].images)
    parts["generation"].images = arguments.images
    costs = {
        "dense": measure(dense, parts, trainer, machine, arguments.steps),
        "pruned": measure(pruned, parts, trainer, machine, arguments.steps),
    }
    rates = Rates(device, plain["runtime"]["precision"])
    for name, denoiser in (("dense", dense), ("pruned", pruned)):
        tell(name, denoiser, costs[name], whole)
        rates.tell(denoiser, model, recipe.batch_size, parts["generation"].steps, costs[name])
    if not arguments.without_reference:
        costs["reference"] = measure_reference(pruned, parts, device, arguments)
        tell("reference", pruned, costs["reference"], whole)
        theirs, ours = (seconds_of(costs[name], whole) for name in ("reference", "pruned"))
        row(
            f"{arguments.experiment}, {' '.join(overrides) or 'as it comes'}",
            f"{3600 / ours:.1f} coalitions per hour",
            f"{3600 / theirs:.1f}: straightforward loop, same threads",
            f"{theirs / ours:.2f}",
        )


def tell(name: str, denoiser: nn.Module, cost: Cost, whole: tuple[int, int]) -> None:
    parameters = sum(p.numel() for p in denoiser.parameters())
    print(
        f"{name:9} {parameters:12,} parameters  {cost.step:.4f} s per step  "
        f"{1 / cost.image:8.1f} images per s  peak {cost.memory / 1e9:.1f} GB  "
        f"{3600 / seconds_of(cost, whole):.1f} coalitions per hour"
    )


def seconds_of(cost: Cost, whole: tuple[int, int]) -> float:
    """Return the seconds of one coalition with so many steps and images."""
    return whole[0] * cost.step + whole[1] * cost.image


class Rates:
    """What the device reaches at best: operations per second, and bytes per second."""

    def __init__(self, device: torch.device, precision: str) -> None:
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        size = 8192 if device.type == "cuda" else 1024
        a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
        repeats = 20
        work = seconds(lambda: [a @ b for _ in range(repeats)], device)
        self.operations = 2 * size**3 * repeats / work
        large = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device)
        moved = seconds(lambda: [large.clone() for _ in range(repeats)], device)
        self.bytes = 2 * large.nbytes * repeats / moved
        print(
            f"matrix products {self.operations / 1e12:.2f} TFLOP/s, memory "
            f"{self.bytes / 1e9:.0f} GB/s"
        )

    def tell(self, denoiser: nn.Module, model: Any, batch: int, steps: int, cost: Cost) -> None:
        """Print the share of the rate of matrix products that training and drawing reach."""
        inputs = model.example_inputs(denoiser)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            denoiser(**inputs)
        forward = counter.get_total_flops()
        training = 3 * forward * batch / cost.step / self.operations
        drawing = forward * steps / cost.image / self.operations
        print(f"          of matrix products: training {training:.0%}, drawing {drawing:.0%}")


def build(overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        plain = config.resolve(compose("config", config.of_this_experiment(overrides)))
    return plain, config.build(plain)


def synthetic(model: Any, count: int, device: torch.device) -> Examples:
    ids = torch.arange(max(count, 512), device=device)
    points = Stream("synthetic").normal(ids, model.latent_shape()).clamp(-1, 1)
    return Examples(points, in_pixels=True)


def measure(
    denoiser: nn.Module, parts: dict[str, Any], trainer: Trainer, machine: Accelerator, steps: int
) -> Cost:
    model, recipe, generation = parts["model"], parts["finetuning"].recipe, parts["generation"]
    ids = torch.arange(len(trainer.loss.examples), device=machine.device)

    def train(steps: int) -> None:
        trainer.train(denoiser, replace(recipe, steps=steps), ids, Stream("benchmark"))

    def generate() -> None:
        with machine.autocast():
            generation.generate(trainer.compiled(denoiser), model, 0, None)

    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train(WARM_UP)
    step = seconds(lambda: train(steps), machine.device) / steps
    if trainer.compiled(generate) is not generate:
        generate()  # compiles
    image = seconds(generate, machine.device) / generation.images
    memory = torch.cuda.max_memory_allocated() if machine.device.type == "cuda" else 0
    return Cost(step, image, memory)


def measure_reference(
    denoiser: nn.Module, parts: dict[str, Any], device: torch.device, arguments: argparse.Namespace
) -> Cost:
    """Time the straightforward loop; latents pass for images where a model has any."""
    model, recipe, generation = parts["model"], parts["finetuning"].recipe, parts["generation"]
    channels, *size = model.latent_shape()
    data = plain_loop.Pictures(torch.randint(256, (512, channels, *size), dtype=torch.uint8))
    alpha_bar = model.noise_scheduler().alphas_cumprod.to(device)

    def train(steps: int) -> None:
        short = replace(recipe, steps=steps)
        plain_loop.train(denoiser, data, range(len(data)), short, alpha_bar)

    def generate() -> None:
        with tempfile.TemporaryDirectory() as folder:
            plain_loop.write(Path(folder), plain_loop.sample(denoiser, model, generation, device))
            plain_loop.read(Path(folder))

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train(WARM_UP)
    step = seconds(lambda: train(arguments.steps), device) / arguments.steps
    image = seconds(generate, device) / arguments.images
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return Cost(step, image, memory)


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
