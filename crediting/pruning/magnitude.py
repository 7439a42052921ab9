"""Pruning by the magnitude of the weights: the paper's method for U-Nets."""

import torch_pruning as tp
from torch import nn

from crediting.interfaces import TimestepLoss
from crediting.pruning.structured import ChannelPruning, Scores


class Magnitude(ChannelPruning):
    """Removes the channels whose weights are smallest.

    A channel scores the sum of its squared weights, averaged over all layers that write or read
    it; biases and norms of groups are not scored. The arguments are those of `ChannelPruning`.

    Source: the paper; `torch_pruning.importance.MagnitudeImportance`.
    """

    def scores(self, denoiser: nn.Module, loss: TimestepLoss | None = None) -> Scores:
        """Return the scores by magnitude; the loss is not needed."""
        return tp.importance.MagnitudeImportance(p=2, group_reduction="mean", normalizer="mean")
