"""Pruning by how much the loss would change, to first order."""

from collections.abc import Iterable

import torch
import torch_pruning as tp
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, TimestepLoss
from crediting.pruning.structured import ChannelPruning, Scores
from crediting.training import Recipe


class Taylor(ChannelPruning):
    """Removes the channels without which the training loss would change least, to first order.

    The gradients g of the loss are summed over timesteps. A channel with the weights w in a layer
    scores |sum of w g| there (all its weights vary together), averaged over all layers that
    write or read it; biases and norms of groups are not scored.

    Args:
        ratio: as for `ChannelPruning`.
        timesteps: so many, spread evenly over all: the middles of as many equal spans.
        examples: training examples at each timestep, always the same.
        recovery: as for `ChannelPruning`.

    Raises:
        ConfigError: the ratio is not above 0 and below 1, or there is nothing to look at.

    Source: Molchanov et al. 2019; the paper, where all 1,000 timesteps are looked at.
    """

    def __init__(self, ratio: float, timesteps: int, examples: int, recovery: Recipe) -> None:
        super().__init__(ratio, recovery)
        check_examples(examples)
        if not timesteps >= 1:
            raise ConfigError(
                f"pruning.timesteps: expected 1 or more, got {timesteps!r}; "
                "choose for instance 100."
            )
        self.timesteps = timesteps
        self.examples = examples

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if the channels cannot be pruned so, or there are fewer timesteps."""
        spread(self.timesteps, len(model.noise_scheduler().alphas_cumprod))
        super().check(denoiser, model)

    def scores(self, denoiser: nn.Module, loss: TimestepLoss) -> Scores:
        """Return the scores by what the loss would change.

        Raises:
            ConfigError: there are fewer timesteps than asked for, or the loss is not finite.
        """
        chosen = spread(self.timesteps, loss.n_timesteps)
        accumulate(loss(denoiser, timestep, self.examples) for timestep in chosen)
        # Channels are ranked within their group: normalised scores would rank the same, but
        # be undefined where all gradients vanish.
        return tp.importance.TaylorImportance(multivariable=True, normalizer=None)


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


def accumulate(losses: Iterable[torch.Tensor]) -> None:
    """Add up the gradients of losses, each a scalar, drawn one at a time.

    Raises:
        ConfigError: a loss is not a finite number.
    """
    for value in losses:
        if not value.isfinite():
            raise ConfigError(
                "pruning: expected a finite training loss of the full model, got "
                f"{value.item()}; its training diverged: lower model.training.learning_rate."
            )
        value.backward()


def check_examples(examples: int) -> None:
    """Raise ConfigError unless there is at least one example per timestep."""
    if not examples >= 1:
        raise ConfigError(
            f"pruning.examples: expected 1 or more examples per timestep, got {examples!r}; "
            "choose for instance 128."
        )
