"""From a score of every training image to one of every contributor."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crediting.interfaces import Material

AGGREGATES = ("mean", "max", "sum")
"""How the scores of a contributor's training images become its own."""


def by_contributor(scores: Tensor, material: Material, aggregate: str) -> NDArray[np.float64]:
    """Return the mean, maximum or sum of each contributor's scores, (n,).

    Args:
        scores: of the training images, (N,); those of nobody's images are ignored.
        material: tells whose they are.
        aggregate: one of `AGGREGATES`.
    """
    owned = material.contributors >= 0
    owners = material.contributors[owned]
    values = scores.double().cpu().numpy()[owned]
    if aggregate == "max":
        highest = np.full(material.n_contributors, -np.inf)
        np.maximum.at(highest, owners, values)
        return highest
    sums = np.bincount(owners, values, minlength=material.n_contributors).astype(np.float64)
    return sums / examples_of_each(material) if aggregate == "mean" else sums


def examples_of_each(material: Material) -> NDArray[np.int64]:
    """Return how many training examples each contributor has, (n,)."""
    owners = material.contributors[material.contributors >= 0]
    return np.bincount(owners, minlength=material.n_contributors).astype(np.int64)
