"""Unlearning by gradient ascent: the given model is made worse at what the coalition lacks."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import torch

from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, StartingPoint
from crediting.training.recipe import Recipe, Training


class GradientAscent:
    """Ascend the training loss on the removed data; what is kept is not looked at.

    The weights that images are drawn from, the averaged ones, are those that ascend: an average
    over the few steps of an ascent would mostly hold the model as it was before. The empty
    coalition gets the untrained model, the grand one, of which nothing is removed, the given one.

    Args:
        recipe: of the ascent; `recipe.steps` is the most steps that it may take.
        passes: so many passes over the removed data are what it takes: that many times their
            number in steps, divided by the batch size and rounded up.

    Source: the baseline GA of the paper, one pass.
    """

    steps_vary: ClassVar[bool] = True
    """A coalition that lacks more takes more steps."""

    def __init__(self, recipe: Recipe, passes: int | float) -> None:
        if not 0 < passes < math.inf:
            raise ConfigError(
                "finetuning.passes: expected a positive number of passes over the removed data, "
                f"got {passes}; 1 shows the model each of them about once"
            )
        self.recipe = recipe
        self.passes = passes

    def check(self, denoiser: torch.nn.Module, model: DiffusionModel) -> None:
        """Accept any denoiser: what requires gradients is trained."""

    def coalition_model(
        self, start: StartingPoint, kept: torch.Tensor, removed: torch.Tensor
    ) -> torch.nn.Module | Training:
        """Return the ascent on what is removed, int64 (k,)."""
        if len(kept) == 0:
            return start.untrained()
        if len(removed) == 0:
            return start.averaged()
        passes = Fraction(str(self.passes))  # 1.1 * 100 is 110.00000000000001 in floating point
        steps = math.ceil(passes * len(removed) / self.recipe.batch_size)
        recipe = replace(self.recipe, steps=min(steps, self.recipe.steps))
        return Training(start.averaged(), recipe, removed, ascend=True)
