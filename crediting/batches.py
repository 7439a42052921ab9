"""Which examples a step trains on, at which timesteps: decided by the step and by their ids."""

import torch
from torch import Tensor

from crediting.randomness import Stream
from crediting.recipe import Recipe


def draw_batch(
    recipe: Recipe, examples: Tensor, stream: Stream, n_timesteps: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the ids (B,) of a step's examples, their timesteps, and which to mirror, or None.

    `stream` is that of the step.
    """
    ids = stream.at("batch").choose(examples, recipe.batch_size)
    flipped = stream.at("flip").integers(ids, 2).bool() if recipe.horizontal_flip else None
    draw = antithetic_timesteps if recipe.timesteps == "antithetic" else _uniform_timesteps
    return ids, draw(stream.at("time"), ids, n_timesteps), flipped


def antithetic_timesteps(stream: Stream, ids: Tensor, n_timesteps: int) -> Tensor:
    """Return timesteps, int64 (N,), the second half mirroring the first: t and T - 1 - t.

    Source: the pairing of the authors' training loop (Song et al.'s DDIM code before them).
    """
    half = stream.integers(ids[: len(ids) // 2 + 1], n_timesteps)
    return torch.cat([half, n_timesteps - 1 - half])[: len(ids)]


def _uniform_timesteps(stream: Stream, ids: Tensor, n_timesteps: int) -> Tensor:
    return stream.integers(ids, n_timesteps)
