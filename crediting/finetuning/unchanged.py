"""No fine-tuning at all: the two ends of the game as the authors take them."""

import torch

from crediting.interfaces import DiffusionModel, StartingPoint


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
