"""Which examples a step trains on, at which timesteps: decided by the step and by their ids."""

from collections.abc import Sequence

import torch
from torch import Tensor

from crediting.randomness import Stream
from crediting.training.recipe import Recipe

Batch = tuple[Tensor, Tensor, Tensor | None]
"""The ids of examples, their timesteps, and which of them to mirror: all (B,), or None."""

_LAST = torch.iinfo(torch.int64).max


def draw_batch(recipe: Recipe, examples: Tensor, stream: Stream, n_timesteps: int) -> Batch:
    """Return the batch of a step, whose stream this is, from examples, int64 (k,)."""
    ids = stream.at("batch").choose(examples, recipe.batch_size)
    return _posed(recipe, ids[None], stream, n_timesteps)


def draw_batches(
    recipe: Recipe, members: Tensor, size: int, stream: Stream, n_timesteps: int
) -> Batch:
    """Return the batches of K coalitions in a row, each of `size` and as `draw_batch` draws it.

    `members` tells which examples each of them has, bool (K, N).
    """
    everything = torch.arange(members.shape[1], device=members.device)
    priority = stream.at("batch").words(everything, 1)[:, 0]
    ranked = torch.where(members, priority, _LAST)
    return _posed(recipe, ranked.topk(size, 1, largest=False).indices, stream, n_timesteps)


def membership(examples: Sequence[Tensor], count: int) -> Tensor:
    """Return which of `count` examples belong to each of K sets of ids, bool (K, count)."""
    members = torch.zeros(len(examples), count, dtype=torch.bool, device=examples[0].device)
    for row, ids in zip(members, examples, strict=True):
        row[ids] = True
    return members


def antithetic_timesteps(stream: Stream, ids: Tensor, n_timesteps: int) -> Tensor:
    """Return timesteps, int64 (..., B), the second half mirroring the first: t and T - 1 - t.

    Source: the pairing of the authors' training loop (Song et al.'s DDIM code before them).
    """
    count = ids.shape[-1]
    half = _uniform_timesteps(stream, ids[..., : count // 2 + 1], n_timesteps)
    return torch.cat([half, n_timesteps - 1 - half], -1)[..., :count]


def _uniform_timesteps(stream: Stream, ids: Tensor, n_timesteps: int) -> Tensor:
    return stream.integers(ids.flatten(), n_timesteps).view(ids.shape)


def _posed(recipe: Recipe, ids: Tensor, stream: Stream, n_timesteps: int) -> Batch:
    """Return batches of ids, (K, B), in a row, with timesteps and flips."""
    draw = antithetic_timesteps if recipe.timesteps == "antithetic" else _uniform_timesteps
    timesteps = draw(stream.at("time"), ids, n_timesteps).flatten()
    ids = ids.flatten()
    flipped = stream.at("flip").integers(ids, 2).bool() if recipe.horizontal_flip else None
    return ids, timesteps, flipped
