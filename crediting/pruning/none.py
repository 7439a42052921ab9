"""No pruning: coalitions start from the full model."""

from torch import nn

from crediting.interfaces import DiffusionModel, PruningReport
from crediting.pruning.structured import measure


class NoPruning:
    """Keeps the denoiser as it is; there is nothing to recover from."""

    recovery = None

    def prune(self, denoiser: nn.Module, model: DiffusionModel) -> tuple[nn.Module, PruningReport]:
        """Return the denoiser itself, and a report of equal sizes."""
        size = measure(denoiser, model)
        return denoiser, PruningReport(size.parameters, size.parameters, size.macs, size.macs)
