"""Pruning of low-rank adapters: the paper's method for Stable Diffusion."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from crediting import lora
from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.structured import check_ratio, compare
from crediting.training import Recipe


class LoraRanks:
    """Removes the rank pairs of low-rank adapters whose weights are smallest.

    A rank pair is row k of A and column k of B of one adapter, which add scale * B A to a weight.
    It scores its squared weights, summed in A and in B, averaged over the two, and divided by the
    mean over the adapter. All pairs of all adapters are ranked together, and of P pairs exactly
    floor(ratio * P) go; among equals those of earlier modules, then of smaller k. An adapter may
    lose all its pairs; the weights that it adapted stay as they are.

    Args:
        ratio: share of the rank pairs removed. The authors' option of that name is instead the
            share of the adapters' parameters kept.
        recovery: the recipe of the fine-tuning on all data afterwards.

    Raises:
        ConfigError: the ratio is not above 0 and below 1.

    Source: the paper.
    """

    def __init__(self, ratio: float, recovery: Recipe) -> None:
        check_ratio(ratio, "rank pairs")
        self.ratio = ratio
        self.recovery = recovery

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if there are no adapters, or too few pairs to remove any."""
        ranks = lora.ranks(denoiser)
        if not ranks:
            raise ConfigError(
                "pruning: lora_ranks expects a model with low-rank adapters, got one without; "
                "choose model=sd_lora, or pruning=magnitude, which removes channels."
            )
        count_removed(sum(ranks.values()), self.ratio)

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[nn.Module, PruningReport]:
        """Return a copy with fewer rank pairs, sharing its frozen weights; needs no loss.

        Raises:
            ConfigError: there are no adapters, or too few pairs to remove any.
        """
        self.check(denoiser, model)
        kept = pairs_to_keep(_scores(denoiser), self.ratio)
        pruned = lora.clone(denoiser)
        lora.keep(pruned, kept)
        return pruned, compare(denoiser, pruned, model)


def count_removed(pairs: int, ratio: float) -> int:
    """Return how many of so many pairs a ratio removes.

    Raises:
        ConfigError: none at all.
    """
    # 0.29 * 100 is 28.999999999999996 in floating point.
    removed = math.floor(ratio * pairs + 1e-9)
    if removed == 0:
        least = math.ceil(10_000 / pairs) / 10_000
        raise ConfigError(
            f"pruning.ratio: {ratio} of {pairs} rank pairs removes none; choose {least} or more."
        )
    return removed


def pairs_to_keep(scores: Mapping[str, Tensor], ratio: float) -> dict[str, Tensor]:
    """Return the indices, sorted, of the pairs that stay, by module.

    `scores` (r,) by module are ranked all together; the lowest go.

    Raises:
        ConfigError: the ratio removes no pair at all.
    """
    everything = torch.cat(list(scores.values()))
    removed = count_removed(len(everything), ratio)
    stays = torch.ones(len(everything), dtype=torch.bool)
    stays[everything.argsort(stable=True)[:removed]] = False
    by_module = stays.split([len(own) for own in scores.values()])
    return {name: own.nonzero().flatten() for name, own in zip(scores, by_module, strict=True)}


def _scores(denoiser: nn.Module) -> dict[str, Tensor]:
    """Return the scores of all pairs, float64 (r,) on the CPU, by module."""
    scores = {}
    for name, (down, up) in lora.factors(denoiser).items():
        down, up = down.detach().cpu().double(), up.detach().cpu().double()
        energy = (down.square().sum(1) + up.square().sum(0)) / 2
        # An adapter of zeros does nothing: its pairs score 0.
        scores[name] = energy / energy.mean().clamp_min(torch.finfo(energy.dtype).tiny)
    return scores
