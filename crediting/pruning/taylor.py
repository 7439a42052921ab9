"""Pruning by how much the loss would change, to first order."""

from typing import ClassVar

import torch_pruning as tp
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.gradients import accumulate, check_examples
from crediting.pruning.structured import Scores, check_channels, check_ratio, prune_channels
from crediting.training import Recipe


class Taylor:
    """Removes the channels without which the training loss would change least, to first order.

    The gradients g of the loss are summed over timesteps. A channel with the weights w in a layer
    scores |sum of w g| there (all its weights vary together), averaged over all layers that
    write or read it; biases and norms of groups are not scored.

    Args:
        ratio: share of the channels removed, rounded down to a multiple of the norm groups.
        timesteps: so many, spread evenly over all: the middles of as many equal spans.
        examples: training examples at each timestep, always the same.
        recovery: the recipe of the fine-tuning on all data afterwards.

    Raises:
        ConfigError: the ratio is not above 0 and below 1, or there is nothing to look at.

    Source: Molchanov et al. 2019; the paper, where all 1,000 timesteps are looked at.
    """

    removes_channels: ClassVar[bool] = True

    def __init__(self, ratio: float, timesteps: int, examples: int, recovery: Recipe) -> None:
        check_ratio(ratio)
        check_examples(examples)
        if not timesteps >= 1:
            raise ConfigError(
                f"pruning.timesteps: expected 1 or more, got {timesteps!r}; "
                "choose for instance 100."
            )
        self.ratio = ratio
        self.timesteps = timesteps
        self.examples = examples
        self.recovery = recovery

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if the channels cannot be pruned so, or there are fewer timesteps."""
        spread(self.timesteps, len(model.noise_scheduler().alphas_cumprod))
        check_channels(denoiser, model, self.ratio)

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[nn.Module, PruningReport]:
        """Return a smaller copy of the denoiser, weights inherited, and a report.

        Raises:
            ConfigError: the model's channels cannot be pruned, or not by so small a ratio; it has
                fewer timesteps than asked for; its loss is not finite.
        """
        chosen = spread(self.timesteps, loss.n_timesteps)

        def scoring(copied: nn.Module) -> Scores:
            accumulate(loss(copied, timestep, self.examples) for timestep in chosen)
            # Channels are ranked within their group: normalised scores would rank the same, but
            # be undefined where all gradients vanish.
            return tp.importance.TaylorImportance(multivariable=True, normalizer=None)

        return prune_channels(denoiser, model, self.ratio, scoring)


def spread(count: int, n_timesteps: int) -> list[int]:
    """Return the middles of so many equal spans of 0..n_timesteps-1, ascending.

    Raises:
        ConfigError: there are fewer timesteps.
    """
    if count > n_timesteps:
        raise ConfigError(
            f"pruning.timesteps: expected at most the model's {n_timesteps}, got {count}; lower it."
        )
    return [(2 * i + 1) * n_timesteps // (2 * count) for i in range(count)]
