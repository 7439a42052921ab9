"""Whose images the full model draws: its generated images, dealt to the contributors.

A pool is one row of weights over the K generated images, which sum to 1; all of them, (n, K).
"""

import torch
from torch import Tensor

from crediting.errors import ConfigError

_ROWS = 256  # of a matrix of distances at a time, to bound the memory
_SAME = 0.01  # embedding one text twice, in other batches, differs by less than this share


def nearest_pools(
    generated: Tensor, training: Tensor, owners: Tensor, n_contributors: int, neighbours: int
) -> Tensor:
    """Return the pools by which each generated image votes for the owners of its neighbours.

    A contributor that no image votes for would have nothing to draw: it is given the generated
    images, as many as there are neighbours, that come closest to any of its own.

    Args:
        generated: embeddings (K, d).
        training: embeddings (N, d).
        owners: whose they are, int64 (N,), from 0 to n_contributors - 1.
        n_contributors: n.
        neighbours: training images that an image votes for, each with equal weight.

    Raises:
        ConfigError: there are fewer training images than neighbours.
    """
    check_neighbours(neighbours, len(training))
    votes, closest = [], []
    for rows in generated.split(_ROWS):
        distances = torch.cdist(rows, training)
        nearest = owners[distances.topk(neighbours, largest=False).indices]
        votes.append(distances.new_zeros(len(rows), n_contributors))
        votes[-1].scatter_add_(1, nearest, torch.ones_like(nearest, dtype=distances.dtype))
        closest.append(distances.new_full((len(rows), n_contributors), torch.inf))
        closest[-1].scatter_reduce_(1, owners.expand(len(rows), -1), distances, "amin")
    pools = torch.cat(votes).T
    forsaken = pools.sum(dim=1) == 0
    gaps = torch.cat(closest).T[forsaken]
    given = gaps.topk(min(neighbours, len(generated)), largest=False).indices
    pools[forsaken] = torch.zeros_like(gaps).scatter_(1, given, 1.0)
    return pools / pools.sum(dim=1, keepdim=True)


def check_neighbours(neighbours: int, images: int) -> None:
    """Raise ConfigError if there are fewer training images than neighbours."""
    if neighbours > images:
        raise ConfigError(
            f"neighbours: expected no more than the {images} training images, got {neighbours}"
        )


def prompt_pools(prompt_of: Tensor, caption_of: Tensor, owners: Tensor, n: int) -> Tensor:
    """Return the pools that hold the images of the contributors' own captions.

    A caption weighs as much as the contributor has examples with it, among those captions that
    were drawn at all, and its images share that weight.

    Args:
        prompt_of: the caption that each generated image shows, int64 (K,); -1 for no caption.
        caption_of: the caption of each training image, int64 (N,).
        owners: whose they are, int64 (N,), from 0 to n - 1.
        n: number of contributors.

    Raises:
        ConfigError: a contributor has no image at all, or all contributors have the same captions.
    """
    examples = _examples_with(caption_of, owners, n)
    numbers = torch.arange(examples.shape[1], device=prompt_of.device)
    shows = (numbers[:, None] == prompt_of).double()
    shares = shows / shows.sum(dim=1, keepdim=True).clamp(min=1)
    return _told_apart(examples @ shares)


def check_captions(drawn: Tensor, caption_of: Tensor, owners: Tensor, n: int) -> None:
    """Refuse what `prompt_pools` would if these captions are drawn, int64 (k,), each once.

    Raises:
        ConfigError: as `prompt_pools`.
    """
    _told_apart(_examples_with(caption_of, owners, n)[:, drawn])


def _examples_with(caption_of: Tensor, owners: Tensor, n: int) -> Tensor:
    """Return how many examples each contributor has with each caption, float64 (n, c)."""
    n_captions = int(caption_of.max()) + 1
    counts = torch.bincount(owners * n_captions + caption_of, minlength=n * n_captions)
    return counts.view(n, n_captions).double()


def _told_apart(shares: Tensor) -> Tensor:
    """Return what each contributor has of each image, (n, k), as shares that sum to 1."""
    totals = shares.sum(dim=1, keepdim=True)
    without = (totals.squeeze(1) == 0).nonzero().flatten().tolist()
    if without:
        raise ConfigError(
            "assign: prompts need images of every contributor's captions, "
            f"and none were drawn for {len(without)} of {len(shares)} contributors, for instance "
            f"number {without[0] + 1}; set generation.prompts=captions with at least as many "
            "generation.images, or assign=nearest"
        )
    shares = shares / totals
    if torch.allclose(shares, shares[:1]):
        raise ConfigError(
            "assign: prompts cannot tell these contributors apart, since "
            "all of them have the same captions; set assign=nearest"
        )
    return shares


def captions_of_prompts(prompts: Tensor, captions: Tensor) -> Tensor:
    """Return which caption each prompt is, int64 (k,), or -1 where it is none.

    Args:
        prompts: embedded, (k, tokens, width).
        captions: embedded, distinct, (c, tokens, width).
    """
    asked, known = prompts.flatten(1).float(), captions.flatten(1).float()
    nearest = torch.cdist(asked, known).argmin(dim=1)
    gaps = torch.stack(
        [(one - known[i]).norm() for one, i in zip(asked, nearest.tolist(), strict=True)]
    )
    return torch.where(gaps <= _SAME * asked.norm(dim=1), nearest, -1)
