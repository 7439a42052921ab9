"""How much the predicted noise itself changes without a training example."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crediting.baselines.aggregate import by_contributor
from crediting.baselines.projected import GradientBaseline
from crediting.baselines.ridge import RidgeInverse
from crediting.baselines.settings import check_positive
from crediting.interfaces import Material


@dataclass(frozen=True)
class DiffusionAttributionScore(GradientBaseline):
    """Squared change of the prediction at generated images, if one example had not been there.

    With predictions e, Jacobians J and residuals r = e - target of a training example, its removal
    moves the parameters by a Newton step, H^-1 J^T r, where H = sum J^T J + lambda I over all
    training examples and timesteps; the score is |J' H^-1 J^T r|^2 / m, its mean over timesteps
    and generated images (m: numbers predicted for one image).

    J^T r is the gradient of the loss. Jacobians are never held: each J^T J, and J' at the end, is
    estimated from one row s^T J per example and timestep with random signs s, which keeps the
    expectation. The authors replace the prediction by its mean or 1-norm, instead, and r by a
    number. As theirs, the score leaves out the leverage of the example, 1 - its share of H.

    Args:
        damping: lambda / (k^2 m), for k timesteps, as a multiple of the mean squared norm of a
            training example's row, s^T J / sqrt(m) averaged over timesteps.
        relative: false: damping is lambda / (k^2 m) itself. The others: see `GradientBaseline`.

    Source: Lin et al. 2025 (ICLR), "Diffusion Attribution Score", and the code at
    github.com/Jinxu-Lin/DAS.
    """

    damping: float
    relative: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("damping", self.damping)

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the score of each contributor, (n,); raises as `GradientBaseline`."""
        probes = self.of_training(material, "probe")
        pulls = self.of_training(material, "loss")
        targets = self.of_generated(material, "probe")
        inverse = RidgeInverse(probes, self.damping, self.relative)
        changes = targets @ inverse(pulls).T
        # With k timesteps and m pixels, F^T F of probes stands for H / (k^2 m), a loss gradient
        # for 2 / (k m) sum J^T r, and the square of a probe for 1 / k of the mean over timesteps.
        scores = changes.square().mean(dim=0) / (4 * self.timesteps)
        return by_contributor(scores, material, self.aggregate)
