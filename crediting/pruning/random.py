"""Pruning at random: what any method that looks at the model has to beat."""

from typing import Any, ClassVar

import torch
from torch import nn

from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.structured import Scores, check_channels, check_ratio, prune_channels
from crediting.randomness import Stream
from crediting.training import Recipe


class RandomChannels:
    """Removes channels drawn at random.

    Which ones depends on the seed, the names of the layers and their widths only, neither on the
    weights nor on the device.

    Args:
        ratio: share of the channels removed, rounded down to a multiple of the norm groups.
        seed: of the draw.
        recovery: the recipe of the fine-tuning on all data afterwards.

    Raises:
        ConfigError: the ratio is not above 0 and below 1.

    Source: the paper.
    """

    removes_channels: ClassVar[bool] = True

    def __init__(self, ratio: float, seed: int, recovery: Recipe) -> None:
        check_ratio(ratio)
        self.ratio = ratio
        self.seed = seed
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
        return prune_channels(denoiser, model, self.ratio, self._scoring)

    def _scoring(self, denoiser: nn.Module) -> Scores:
        names = {module: name for name, module in denoiser.named_modules()}
        stream = Stream(self.seed, "pruning")

        def scores(group: Any) -> torch.Tensor:
            first = group[0].dep
            # A layer may head two groups: that of its inputs and that of its outputs.
            own = stream.at(names[first.target.module], first.handler.__name__)
            return own.uniform(torch.arange(len(group[0].idxs)))

        return scores
