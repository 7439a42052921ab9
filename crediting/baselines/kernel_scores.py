"""Influence on generated images by a kernel of projected gradients: TRAK and its relatives."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crediting.baselines.aggregate import by_contributor
from crediting.baselines.example_gradients import OUTPUTS
from crediting.baselines.projected import GradientBaseline
from crediting.baselines.ridge import RidgeInverse
from crediting.baselines.settings import check_choice, check_positive
from crediting.interfaces import Material

_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Trak(GradientBaseline):
    """Influence f(generated)^T (F^T F + lambda I)^-1 f(training), averaged over generated images.

    The features f are projected gradients; the rows of F are those of the training examples.

    Args:
        output: what is differentiated: loss (TRAK) or square_norm (D-TRAK).
        damping: lambda, as a multiple of the mean squared norm of a training example's features.
        relative: false: damping is lambda itself. The authors take 0.5, without the division of
            projected gradients by sqrt(dimensions): 0.5 / dimensions here.

    The others: see `GradientBaseline`.

    Source: Park et al. 2023 (TRAK); Zheng et al. 2024 (D-TRAK); the paper.
    """

    output: str
    damping: float
    relative: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("output", self.output, OUTPUTS)
        check_positive("damping", self.damping)

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the score of each contributor, (n,); raises as `GradientBaseline`."""
        training = self.of_training(material, self.output)
        inverse = RidgeInverse(training, self.damping, self.relative)
        target = self.target(material).mean(dim=0, keepdim=True)
        influence = training @ inverse(target)[0] / self.magnitudes(training, inverse)
        return by_contributor(influence, material, self.aggregate)

    def target(self, material: Material) -> Tensor:
        """Return the features of what is attributed, float64 (m, d)."""
        return self.of_generated(material, self.output)

    def magnitudes(self, training: Tensor, inverse: RidgeInverse) -> Tensor:
        """Return what the influence of each training example is divided by, (N,)."""
        return torch.ones(len(training), dtype=training.dtype)


@dataclass(frozen=True)
class RelativeInfluence(Trak):
    """TRAK divided by the norm of (F^T F + lambda I)^-1 f(training).

    Source: Barshan et al. 2020; the paper.
    """

    def magnitudes(self, training: Tensor, inverse: RidgeInverse) -> Tensor:
        """Return how far each example moves the parameters, (N,)."""
        return inverse(training).norm(dim=1).clamp_min(_TINY)


@dataclass(frozen=True)
class RenormalisedInfluence(Trak):
    """TRAK divided by the norm of f(training).

    Source: Hammoudeh and Lowd 2022; the paper.
    """

    def magnitudes(self, training: Tensor, inverse: RidgeInverse) -> Tensor:
        """Return the norm of each example's gradient, (N,)."""
        return training.norm(dim=1).clamp_min(_TINY)
