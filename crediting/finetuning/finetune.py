"""Training on a coalition's data, from the given model or from scratch; or none at all."""

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


class Unchanged:
    """The given model for the grand coalition, the untrained model for the empty one.

    It defines a game only for those two coalitions. `endpoints=dense` measures v(N) and v(empty)
    by it on the dense model, as the authors' code does.
    """

    recipe = None

    def check(self, denoiser: torch.nn.Module, model: DiffusionModel) -> None:
        """Accept any denoiser: nothing is done to it."""

    def coalition_model(
        self, start: StartingPoint, kept: torch.Tensor, removed: torch.Tensor
    ) -> torch.nn.Module:
        """Return the averaged model as it was given, or the untrained one if nothing is kept."""
        return start.averaged() if len(kept) else start.untrained()
