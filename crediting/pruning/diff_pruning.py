"""Pruning for diffusion models by Fang et al.: Taylor importance without the noisiest timesteps."""

from collections.abc import Iterator

import torch
import torch_pruning as tp
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import TimestepLoss
from crediting.pruning.structured import ChannelPruning, Scores
from crediting.pruning.taylor import accumulate, check_examples
from crediting.training import Recipe


class DiffPruning(ChannelPruning):
    """Removes the channels that matter least to the loss at the informative timesteps.

    The loss L_t is taken at t = 0, 1, 2, ... in turn, and its gradients are summed, until the
    first t at which L_t is below `threshold` times the largest loss met so far; that t and all
    later ones, where images drown in noise, do not count. With the sums g, a channel with the
    weights w in a layer scores the sum of |w g| there (not the absolute value of the sum, as
    Taylor takes it), averaged over all layers that write or read it; biases and norms of groups
    are not scored.

    Args:
        ratio: as for `ChannelPruning`.
        threshold: least share of the largest loss, in [0, 1]; at 0 every timestep counts.
        examples: training examples at each timestep, always the same.
        recovery: as for `ChannelPruning`.

    Raises:
        ConfigError: the ratio, the threshold or the number of examples is out of its range.

    Source: Fang, Ma and Wang, Structural pruning for diffusion models, NeurIPS 2023; paper section
    3.1. Their code also adds the gradient of the timestep at which it stops; their formula, and
    this class, do not.
    """

    def __init__(self, ratio: float, threshold: float, examples: int, recovery: Recipe) -> None:
        super().__init__(ratio, recovery)
        check_examples(examples)
        if not 0 <= threshold <= 1:
            raise ConfigError(
                "pruning.threshold: expected a share of the largest loss, from 0 to 1, "
                f"got {threshold!r}; its authors choose 0.05."
            )
        self.threshold = threshold
        self.examples = examples

    def scores(self, denoiser: nn.Module, loss: TimestepLoss) -> Scores:
        """Return the scores by what the loss at informative timesteps would change.

        Raises:
            ConfigError: the loss is not finite.
        """
        accumulate(self._informative_losses(denoiser, loss))
        # As for Taylor: the ranks are those of normalised scores.
        return tp.importance.TaylorImportance(multivariable=False, normalizer=None)

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
