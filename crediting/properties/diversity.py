"""Diversity as the entropy of the groups that generated images fall into."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crediting.interfaces import Features
from crediting.properties.measure import of_field


@dataclass(frozen=True)
class Diversity:
    """Entropy of the predicted groups: 0 when all images fall into one, log2(k) when even over k.

    A group is the class with the highest logit.

    Args:
        extractor: whose logits are read, or null for the first chosen one that gives any.
    """

    extractor: str | None

    unit: ClassVar[str] = "bits"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "logits"

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure; the reference images play no part in it."""
        return of_field(self.needs, lambda logits: entropy_of_groups(logits.argmax(dim=1)))


def entropy_of_groups(groups: Tensor) -> float:
    """Return the entropy, in bits, of the shares of groups, int64 (N,) from 0 on."""
    counts = groups.bincount().double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum()) + 0.0
