"""Training from scratch on a coalition's data: what the Shapley value is defined by."""

import torch

from crediting.interfaces import DiffusionModel, StartingPoint
from crediting.training.recipe import Recipe, Training


class Retrain:
    """Train an untrained model of the given shape; the empty coalition leaves it untrained."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def check(self, denoiser: torch.nn.Module, model: DiffusionModel) -> None:
        """Accept any denoiser: what requires gradients is trained."""

    def coalition_model(
        self, start: StartingPoint, kept: torch.Tensor, removed: torch.Tensor
    ) -> torch.nn.Module | Training:
        """Return the training from scratch on what is kept, int64 (k,)."""
        denoiser = start.untrained()
        return Training(denoiser, self.recipe, kept) if len(kept) else denoiser
