"""How much training examples pull on the model like generated images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional as F

from crediting.baselines.aggregate import by_contributor
from crediting.baselines.example_gradients import OUTPUTS
from crediting.baselines.projected import GradientBaseline
from crediting.baselines.settings import check_choice
from crediting.interfaces import Material


@dataclass(frozen=True)
class GradientSimilarity(GradientBaseline):
    """Cosine of the projected gradients of a training example and a generated image.

    It is averaged over the generated images before anything else.

    Args:
        output: what is differentiated; the paper's is loss. The others: see `GradientBaseline`.

    Source: Charpiat et al. 2019; the paper.
    """

    output: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("output", self.output, OUTPUTS)

    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the score of each contributor, (n,); raises as `GradientBaseline`."""
        training = self.of_training(material, self.output)
        generated = self.of_generated(material, self.output)
        cosines = F.normalize(training) @ F.normalize(generated).mean(dim=0)
        return by_contributor(cosines, material, self.aggregate)
