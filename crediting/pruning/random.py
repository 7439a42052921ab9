"""Pruning at random: what any method that looks at the model has to beat."""

from typing import Any

import torch
from torch import nn

from crediting.interfaces import TimestepLoss
from crediting.pruning.structured import ChannelPruning, Scores
from crediting.randomness import Stream
from crediting.training import Recipe


class RandomChannels(ChannelPruning):
    """Removes channels drawn at random.

    Which ones depends on the seed, the names of the layers and their widths only, neither on the
    weights nor on the device.

    Args:
        ratio: as for `ChannelPruning`.
        seed: of the draw.
        recovery: as for `ChannelPruning`.

    Source: the paper.
    """

    def __init__(self, ratio: float, seed: int, recovery: Recipe) -> None:
        super().__init__(ratio, recovery)
        self.seed = seed

    def scores(self, denoiser: nn.Module, loss: TimestepLoss) -> Scores:
        """Return scores drawn at random; the loss is not needed."""
        names = {module: name for name, module in denoiser.named_modules()}
        stream = Stream(self.seed, "pruning")

        def drawn(group: Any) -> torch.Tensor:
            first = group[0].dep
            # A layer may head two groups: that of its inputs and that of its outputs.
            own = stream.at(names[first.target.module], first.handler.__name__)
            return own.uniform(torch.arange(len(group[0].idxs)))

        return drawn
