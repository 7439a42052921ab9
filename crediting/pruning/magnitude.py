"""Pruning by the magnitude of the weights: the paper's method for U-Nets."""

from typing import ClassVar

import torch_pruning as tp
from torch import nn

from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.structured import Scores, check_channels, check_ratio, prune_channels
from crediting.training import Recipe


class Magnitude:
    """Removes the channels whose weights are smallest.

    A channel scores the sum of its squared weights, averaged over all layers that write or read
    it; biases and norms of groups are not scored.

    Args:
        ratio: share of the channels removed, rounded down to a multiple of the norm groups.
        recovery: the recipe of the fine-tuning on all data afterwards.

    Raises:
        ConfigError: the ratio is not above 0 and below 1.

    Source: the paper; `torch_pruning.importance.MagnitudeImportance`.
    """

    removes_channels: ClassVar[bool] = True

    def __init__(self, ratio: float, recovery: Recipe) -> None:
        check_ratio(ratio)
        self.ratio = ratio
        self.recovery = recovery

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if the channels cannot be pruned, or not by so small a ratio."""
        check_channels(denoiser, model, self.ratio)

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[nn.Module, PruningReport]:
        """Return a smaller copy of the denoiser, weights inherited; the loss is not needed.

        Raises:
            ConfigError: the model's channels cannot be pruned, or not by so small a ratio.
        """
        return prune_channels(denoiser, model, self.ratio, squared_weights)


def squared_weights(denoiser: nn.Module) -> Scores:
    """Return the scores by magnitude, the same for every denoiser."""
    return tp.importance.MagnitudeImportance(p=2, group_reduction="mean", normalizer="mean")
