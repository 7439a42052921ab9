"""What one coalition of a full-size experiment costs, measured on synthetic pixels.

    python benchmarks/coalition.py [--experiment cifar_ddpm] [--steps 50] [--images 1024] ...

Builds the experiment's U-Net at full size with random weights, prunes it, then times fine-tuning
steps on random images and the generation of images, for the dense model (the reference) and the
pruned one: cost depends neither on the pixels nor on the weights. One coalition is then put
together from the experiment's own numbers of steps and images. Overrides follow as for `credit`:
for instance runtime.precision=bf16 generation.steps=25.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from hydra import compose, initialize_config_dir
from torch import nn

from crediting import config
from crediting.examples import Examples
from crediting.loss import DenoisingLoss, FixedTimestepLoss
from crediting.pipeline.machine import open_machine
from crediting.randomness import Stream
from crediting.training import Trainer

WARM_UP = 2


class Cost(NamedTuple):
    """Of one denoiser: seconds per training step and per generated image, peak bytes on a GPU."""

    step: float
    image: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiment", default="cifar_ddpm")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--images", type=int, default=1024)
    arguments, overrides = parser.parse_known_args()
    plain, parts = build([f"+experiment={arguments.experiment}", *overrides])
    machine = open_machine(plain["runtime"])
    model, recipe = parts["model"], parts["finetuning"].recipe
    images = parts["generation"].images
    examples = synthetic(model, recipe.batch_size, machine.device)
    dense = model.untrained(0).to(machine.device)
    loss = FixedTimestepLoss(DenoisingLoss(examples, model.noise_scheduler()), Stream(0))
    pruned, _ = parts["pruning"].prune(dense, model, loss)
    print(f"{machine.device}, {plain['runtime']['precision']}, batch {recipe.batch_size}")
    costs = []
    for name, denoiser in (("dense", dense), ("pruned", pruned)):
        cost = measure(denoiser, parts, examples, machine, arguments)
        costs.append(cost)
        whole = recipe.steps * cost.step + images * cost.image
        parameters = sum(p.numel() for p in denoiser.parameters())
        print(
            f"{name:7} {parameters:12,} parameters  {cost.step:.4f} s per step  "
            f"{1 / cost.image:8.1f} images per s  peak {cost.memory / 1e9:.1f} GB  "
            f"one coalition {whole / 60:.2f} min"
        )
    ratios = [one / other for one, other in zip(*costs, strict=True) if other]
    print("dense over pruned: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))


def build(overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        plain = config.resolve(compose("config", overrides))
    return plain, config.build(plain)


def synthetic(model: Any, count: int, device: torch.device) -> Examples:
    ids = torch.arange(max(count, 512), device=device)
    points = Stream("synthetic").normal(ids, model.latent_shape()).clamp(-1, 1)
    return Examples(points, in_pixels=True)


def measure(
    denoiser: nn.Module,
    parts: dict[str, Any],
    examples: Examples,
    machine: Accelerator,
    arguments: argparse.Namespace,
) -> Cost:
    model, recipe, generation = parts["model"], parts["finetuning"].recipe, parts["generation"]
    trainer = Trainer(examples, model.noise_scheduler(), machine)
    ids = torch.arange(len(examples), device=machine.device)
    generation.images = arguments.images

    def train(steps: int) -> None:
        trainer.train(denoiser, replace(recipe, steps=steps), ids, Stream("benchmark"))

    def generate() -> None:
        with machine.autocast():
            generation.generate(denoiser, model, 0, None)

    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train(WARM_UP)
    step = seconds(lambda: train(arguments.steps), machine.device) / arguments.steps
    image = seconds(generate, machine.device) / arguments.images
    memory = torch.cuda.max_memory_allocated() if machine.device.type == "cuda" else 0
    return Cost(step, image, memory)


def seconds(work: Callable[[], None], device: torch.device) -> float:
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
