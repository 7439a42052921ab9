"""The pruned shape without the pruned weights: what inheriting them is worth."""

from torch import nn

from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.magnitude import Magnitude
from crediting.pruning.structured import prune_channels
from crediting.training import Recipe


class Reinit(Magnitude):
    """Prunes by magnitude, then draws all weights anew, as before any training.

    Args:
        ratio: as for `Magnitude`.
        seed: of the weights.
        recovery: the recipe of the training on all data afterwards.

    Source: the paper.
    """

    def __init__(self, ratio: float, seed: int, recovery: Recipe) -> None:
        super().__init__(ratio, recovery)
        self.seed = seed

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError as `prune` does: the weights do not matter, so it is tried out."""
        self.prune(denoiser, model)

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss | None = None
    ) -> tuple[nn.Module, PruningReport]:
        """Return a smaller denoiser with new weights, and a report; the loss is not needed.

        Raises:
            ConfigError: as `Magnitude`, or the weights cannot be drawn anew, because the model
                starts from pretrained ones.
        """
        pruned, report = prune_channels(denoiser, model, self.ratio, self.scores)
        return model.reinitialise(pruned, self.seed), report
