"""Fine-tuning of the given model on a coalition's data."""

import torch

from crediting.interfaces import DiffusionModel, StartingPoint
from crediting.training.recipe import Recipe, Training


class Finetune:
    """Train the given (pruned or dense) model for some steps on what the coalition owns.

    With a pruned model this is the paper's sparsified fine-tuning (Eq. 6). The raw weights are
    trained and a fresh average is kept; the empty coalition is the untrained model.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def check(self, denoiser: torch.nn.Module, model: DiffusionModel) -> None:
        """Accept any denoiser: what requires gradients is trained."""

    def coalition_model(
        self, start: StartingPoint, kept: torch.Tensor, removed: torch.Tensor
    ) -> torch.nn.Module | Training:
        """Return the training on what is kept, int64 (k,)."""
        if len(kept) == 0:
            return start.untrained()
        return Training(start.trained(), self.recipe, kept)
