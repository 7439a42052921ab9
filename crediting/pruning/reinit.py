"""The pruned shape without the pruned weights: what inheriting them is worth."""

from typing import ClassVar

from torch import nn

from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.magnitude import squared_weights
from crediting.pruning.structured import check_ratio, prune_channels
from crediting.training import Recipe


class Reinit:
    """Prunes by magnitude, then draws all weights anew, as before any training.

    Args:
        ratio: share of the channels removed, rounded down to a multiple of the norm groups.
        seed: of the weights.
        recovery: the recipe of the training on all data afterwards.

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
        """Raise ConfigError as `prune` does: the weights do not matter, so it is tried out."""
        self._new(denoiser, model)

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[nn.Module, PruningReport]:
        """Return a smaller denoiser with new weights, and a report; the loss is not needed.

        Raises:
            ConfigError: the model's channels cannot be pruned, or not by so small a ratio; its
                weights cannot be drawn anew, because it starts from pretrained ones.
        """
        return self._new(denoiser, model)

    def _new(self, denoiser: nn.Module, model: DiffusionModel) -> tuple[nn.Module, PruningReport]:
        pruned, report = prune_channels(denoiser, model, self.ratio, squared_weights)
        return model.reinitialise(pruned, self.seed), report
