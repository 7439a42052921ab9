"""What one coalition of an experiment costs, against the straightforward loop and the device.

    python benchmarks/coalition.py [--experiment cifar_ddpm] [--steps 50] [--images 2048] ...

Builds the experiment's networks at full size with random weights, prunes the denoiser, then times
fine-tuning steps on random images, the drawing of images, and for cifar_ddpm the features of its
inception score: cost depends neither on pixels nor on weights. One coalition is put together from
the experiment's own numbers of steps and images; compiling and recording, which a study does once,
are told apart. The reference is the straightforward loop (plain_loop.py) with the pruned model, in
single precision, its sampler that of the experiment. Arithmetic is counted and told as a share of
the rate of matrix products that the device reaches in the same run. Overrides follow as for
`credit`, such as runtime.precision=bf16 runtime.compile=default.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import plain_loop
import torch
from accelerate import Accelerator
from full_size import settings_of
from hydra import compose, initialize_config_dir
from rates import Rates, timed
from table import row
from torch import nn

from crediting import config
from crediting.pipeline.evaluate.step_rates import RUN_IN, Clock
from crediting.pipeline.machine import make_trainer, open_machine, placed
from crediting.randomness import Stream
from crediting.training.examples import Examples
from crediting.training.loss import DenoisingLoss, FixedTimestepLoss
from crediting.training.recipe import Training
from crediting.training.trainer import Trainer

TOKENS, WIDTH = 77, 768


class Cost(NamedTuple):
    """Seconds per training step, generated image, image's features; peak bytes on a GPU, else 0.

    `once` are the seconds of compiling, recording and whatever else is done but once.
    """

    step: float
    image: float
    features: float
    memory: int
    once: float = 0.0


class Work(NamedTuple):
    """What is timed: the parts of an experiment, and where they are."""

    parts: dict[str, Any]
    runtime: dict[str, Any]
    machine: Accelerator
    trainer: Trainer
    steps: int
    prompts: torch.Tensor | None

    @property
    def device(self) -> torch.device:
        return self.machine.device


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiment", default="cifar_ddpm")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--without-reference", action="store_true")
    arguments, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, overrides, Path(folder))


def run(arguments: argparse.Namespace, overrides: list[str], folder: Path) -> None:
    experiment, device = arguments.experiment, "cuda" if torch.cuda.is_available() else "cpu"
    chosen = [] if experiment == "digits" else [f"+experiment={experiment}"]
    sizes = settings_of(experiment, folder, torch.device(device))
    plain, parts = build([*chosen, *sizes, *overrides])
    _, published = build([*chosen, *sizes])
    machine = open_machine(plain["runtime"])
    model, recipe = parts["model"], parts["finetuning"].recipe
    examples = synthetic(model, recipe.batch_size, machine.device)
    trainer = make_trainer(examples, model, machine, plain["runtime"])
    dense = placed(model.untrained(0), machine.device, plain["runtime"])
    loss = FixedTimestepLoss(DenoisingLoss(examples, model.noise_scheduler()), Stream(0), 128)
    pruned, _ = parts["pruning"].prune(dense, model, loss)
    work = Work(parts, plain["runtime"], machine, trainer, arguments.steps, examples.captions)
    print(f"{name_of(machine.device)}, {plain['runtime']['precision']}, batch {recipe.batch_size}")
    whole = (recipe.steps, parts["generation"].images)
    for generation in (parts["generation"], published["generation"]):
        generation.images = min(arguments.images, generation.images)
    ours = measure(copy.deepcopy(pruned), work, folder)
    tell("ours", pruned, ours, whole)
    rates = Rates(machine.device, plain["runtime"]["precision"])
    shares = rates.shares(pruned, work.parts, ours)
    if arguments.without_reference:
        return
    work = work._replace(parts={**parts, "generation": published["generation"]})
    theirs = measure_reference(pruned, work, folder)
    tell("loop", pruned, theirs, whole)
    hourly, slow = 3600 / seconds_of(ours, whole), 3600 / seconds_of(theirs, whole)
    what = f"{experiment}, {' '.join(overrides) or 'as it comes'}"
    loop = "straightforward loop, same threads"
    for unit, mine, other in (
        ("coalitions per hour", hourly, slow),
        ("training steps per second", 1 / ours.step, 1 / theirs.step),
        ("images per second", 1 / ours.image, 1 / theirs.image),
        ("GB of memory at most", ours.memory / 1e9, theirs.memory / 1e9),
    ):
        if mine:  # memory is told on a GPU alone
            row(f"{what}: {unit}", f"{mine:.1f}", f"{other:.1f}: {loop}", f"{mine / other:.2f}")
    for unit, share in shares.items():
        row(f"{what}: {unit}", f"{share:.0%}", "matrix products in the same run", f"{share:.2f}")


def tell(name: str, denoiser: nn.Module, cost: Cost, whole: tuple[int, int]) -> None:
    parameters = sum(p.numel() for p in denoiser.parameters())
    steps, images = whole
    print(
        f"{name:5} {parameters:12,} parameters  {cost.step * 1e3:.1f} ms per step  "
        f"{1 / cost.image:.1f} images per s  features {cost.features * 1e3:.2f} ms per image  "
        f"peak {cost.memory / 1e9:.1f} GB\n"
        f"      a coalition: {steps * cost.step:.1f} s of training, {images * cost.image:.1f} s of "
        f"drawing, {images * cost.features:.1f} s of features; once per process {cost.once:.0f} s"
    )


def seconds_of(cost: Cost, whole: tuple[int, int]) -> float:
    """Return the seconds of one coalition with so many steps and images."""
    return whole[0] * cost.step + whole[1] * (cost.image + cost.features)


def build(overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        plain = config.resolve(compose("config", config.of_this_experiment(overrides)))
    return plain, config.build(plain)


def synthetic(model: Any, count: int, device: torch.device) -> Examples:
    ids = torch.arange(max(count, 512), device=device)
    points = Stream("synthetic").normal(ids, model.latent_shape()).clamp(-1, 1)
    if not model.conditional:
        return Examples(points, mirrored=Examples(points), in_pixels=True)
    captions = Stream("captions").normal(torch.arange(2, device=device), (TOKENS, WIDTH))
    shown = torch.ones_like(ids)
    return Examples(points, mirrored=Examples(points), captions=captions, caption_of=shown)


def measure(denoiser: nn.Module, work: Work, folder: Path) -> Cost:
    model, generation = work.parts["model"], work.parts["generation"]
    recipe = replace(work.parts["finetuning"].recipe, steps=RUN_IN + work.steps)
    ids = torch.arange(len(work.trainer.loss.examples), device=work.device)
    clock = Clock()
    forget_peak(work.device)
    started = time.perf_counter()
    work.trainer.train(Training(denoiser, recipe, ids), Stream("benchmark"), on_step=clock)
    trained = clock.seconds()
    called = work.trainer.replayed(denoiser) or work.trainer.compiled(denoiser)

    def generate() -> torch.Tensor:
        with work.machine.autocast():
            return generation.generate(called, model, 0, work.prompts)

    generate()
    images, drawn = timed(generate)
    once = time.perf_counter() - started - trained - 2 * drawn
    memory = torch.cuda.max_memory_allocated() if work.device.type == "cuda" else 0
    features = seconds_of_features(images, work, folder)
    count = generation.images
    return Cost(trained / work.steps, drawn / count, features / count, memory, once)


def measure_reference(denoiser: nn.Module, work: Work, folder: Path) -> Cost:
    """Time the straightforward loop; latents pass for images where a model has any."""
    model, generation = work.parts["model"], work.parts["generation"]
    alpha_bar = model.noise_scheduler().alphas_cumprod.to(work.device)
    shape = (3, model.size, model.size) if model.conditional else model.latent_shape()
    data = plain_loop.Pictures(torch.randint(256, (512, *shape), dtype=torch.uint8))
    known: dict[str, Any] = {}
    if model.conditional:
        known["encode"] = encoder(model, work.device)
        known["conditions"] = {"encoder_hidden_states": work.trainer.loss.examples.captions[1:]}

    def train(steps: int) -> None:
        short = replace(work.parts["finetuning"].recipe, steps=steps)
        plain_loop.train(denoiser, data, range(len(data)), short, alpha_bar, **known)

    def generate() -> torch.Tensor:
        sampled = plain_loop.sample(denoiser, model, generation, work.device, work.prompts)
        plain_loop.write(folder / "png", sampled)
        return plain_loop.read(folder / "png").to(work.device)

    forget_peak(work.device)
    train(RUN_IN)
    _, trained = timed(lambda: train(work.steps))
    images, drawn = timed(generate)
    memory = torch.cuda.max_memory_allocated() if work.device.type == "cuda" else 0
    features = seconds_of_features(images, work, folder)
    count = generation.images
    return Cost(trained / work.steps, drawn / count, features / count, memory)


def encoder(model: Any, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    network = model._codec(device).network

    @torch.no_grad()
    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return network.encode(pixels).latent_dist.sample() * network.config.scaling_factor

    return encode


def seconds_of_features(images: torch.Tensor, work: Work, folder: Path) -> float:
    """Return what the features of images take; 0 where no extractor is at full size."""
    extractor = work.parts["extractor"].get("inception_v3")
    if extractor is None:
        return 0.0
    network = extractor.load(folder).to(work.device)
    extractor.features(network, images[:64])
    return timed(lambda: extractor.features(network, images))[1]


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


if __name__ == "__main__":
    main()
