"""What training the full model of an experiment takes in memory, by precision and what saves some.

    python benchmarks/memory.py [--experiment celeba_ldm] [--fits 24] ...

Counted on shapes alone: no data, no weights and no GPU are needed, and it takes seconds. The
reference is the first row, full precision with the plain Adam. Overrides follow as for `credit`:
for instance model.training.batch_size=16.
"""

import argparse
from dataclasses import replace
from itertools import product

import torch
from coalition import build

from crediting.training.footprint import Arithmetic, TrainingMemory, of_sampling, of_training

COLUMNS = ("weights", "moments", "average", "gradients", "activations", "total", "of reference")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiment", default="celeba_ldm")
    parser.add_argument("--fits", type=float, default=24, help="GB that a GPU has")
    arguments, overrides = parser.parse_known_args()
    _, parts = build([f"+experiment={arguments.experiment}", *overrides])
    model, recipe = parts["model"], parts["model"].training
    with torch.device("meta"):
        denoiser = model.untrained(0)
    inputs = model.example_inputs(denoiser)
    print(
        f"{sum(p.numel() for p in denoiser.parameters()):,} parameters, {recipe.batch_size} images"
    )
    print(f"| setting | {' | '.join(COLUMNS)} | {arguments.fits:g} GB |")
    print(f"| --- |{' ---: |' * len(COLUMNS)} --- |")
    reference = None
    for optimizer, precision, saving in product(
        ("adam", "adamw8bit"), ("fp32", "bf16"), (False, True)
    ):
        how = Arithmetic("cuda", precision, saving)
        found = of_training(denoiser, inputs, replace(recipe, optimizer=optimizer), how)
        reference = reference or found.total
        setting = f"{precision}, {optimizer}" + (", gradient checkpointing" if saving else "")
        print(row(setting, found, reference, arguments.fits))
    batch = parts["generation"].at_once("cuda")
    for precision in ("fp32", "bf16"):
        taken = of_sampling(denoiser, inputs, batch, Arithmetic("cuda", precision, False))
        print(f"drawing {batch} images at once in {precision}: {taken / 1e9:.1f} GB")


def row(setting: str, found: TrainingMemory, reference: int, fits: float) -> str:
    parts = (found.weights, found.moments, found.average, found.gradients, found.activations)
    cells = [*(f"{part / 1e9:.1f}" for part in (*parts, found.total))]
    verdict = "yes" if found.total < 0.9 * fits * 1e9 else "no"
    return f"| {setting} | {' | '.join(cells)} | {found.total / reference:.2f} | {verdict} |"


if __name__ == "__main__":
    main()
