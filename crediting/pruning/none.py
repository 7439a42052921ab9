"""No pruning: coalitions start from the full model."""

from torch import nn

from crediting.interfaces import DiffusionModel, PruningReport, TimestepLoss
from crediting.pruning.structured import compare


class NoPruning:
    """Keeps the denoiser as it is; there is nothing to recover from."""

    recovery = None

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Accept any denoiser."""

    def prune(
        self, denoiser: nn.Module, model: DiffusionModel, loss: TimestepLoss
    ) -> tuple[nn.Module, PruningReport]:
        """Return the denoiser itself, and a report of equal sizes; the loss is not needed."""
        return denoiser, compare(denoiser, denoiser, model)
