"""Diversity as the entropy of the groups that generated images fall into."""

from collections.abc import Callable
from typing import ClassVar

import torch

from crediting.interfaces import Features


class Diversity:
    """Entropy of the predicted groups: 0 when all images fall into one, log2(k) when even over k.

    A group is the class with the highest logit.
    """

    unit: ClassVar[str] = "bits"
    higher_is_better: ClassVar[bool] = True

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure; the reference images play no part in it."""
        return _entropy_of_groups


def _entropy_of_groups(generated: Features) -> float:
    if not torch.isfinite(generated.logits).all():
        return float("nan")  # argmax of NaN would name a group all the same
    counts = torch.bincount(generated.logits.argmax(dim=1)).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum()) + 0.0
