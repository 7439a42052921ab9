"""Pruning for diffusion models by Fang et al.: Taylor importance without the noisiest timesteps."""

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch_pruning as tp
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.gradients import accumulate, check_examples
from crediting.pruning.structured import Scores, check_channels, check_ratio, prune_channels
from crediting.training import Recipe


class DiffPruning:
    """Removes the channels that matter least to the loss at the informative timesteps.

    The loss L_t is taken at t = 0, 1, 2, ... in turn, and its gradients are summed, until the
    first t at which L_t is below `threshold` times the largest loss met so far; that t and all
    later ones, where images drown in noise, do not count. With the sums g, a channel with the
    weights w in a layer scores the sum of |w g| there (not the absolute value of the sum, as
    Taylor takes it), averaged over all layers that write or read it; biases and norms of groups
    are not scored.

    Args:
        ratio: share of the channels removed, rounded down to a multiple of the norm groups.
        threshold: least share of the largest loss, in [0, 1]; at 0 every timestep counts.
        examples: training examples at each timestep, always the same.
        recovery: the recipe of the fine-tuning on all data afterwards.

    Raises:
        ConfigError: the ratio, the threshold or the number of examples is out of its range.

    Source: Fang, Ma and Wang, Structural pruning for diffusion models, NeurIPS 2023; paper section
    3.1. Their code also adds the gradient of the timestep at which it stops; their formula, and
    this class, do not.
    """

    removes_channels: ClassVar[bool] = True

    def __init__(self, ratio: float, threshold: float, examples: int, recovery: Recipe) -> None:
        check_ratio(ratio)
        check_examples(examples)
        if not 0 <= threshold <= 1:
            raise ConfigError(
                "pruning.threshold: expected a share of the largest loss, from 0 to 1, "
                f"got {threshold!r}; its authors choose 0.05."
            )
        self.ratio = ratio
        self.threshold = threshold
        self.examples = examples
        self.recovery = recovery

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if the channels cannot be pruned, or not by so small a ratio."""
        check_channels(denoiser, model, self.ratio)

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[nn.Module, PruningReport]:
        """Return a smaller copy of the denoiser, weights inherited, and a report.

        Raises:
            ConfigError: the model's channels cannot be pruned, or not by so small a ratio; its
                loss is not finite.
        """

        def scoring(copied: nn.Module) -> Scores:
            accumulate(self._informative_losses(copied, loss))
            # As for Taylor: the ranks are those of normalised scores.
            return tp.importance.TaylorImportance(multivariable=False, normalizer=None)

        return prune_channels(denoiser, model, self.ratio, scoring)

    def _informative_losses(
        self, denoiser: nn.Module, loss: TimestepLoss
    ) -> Iterator[torch.Tensor]:
        largest = 0.0
        for timestep in range(loss.n_timesteps):
            value = loss(denoiser, timestep, self.examples)
            largest = max(largest, value.item())
            if value.item() < self.threshold * largest:
                return
            yield value
