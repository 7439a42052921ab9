"""Inception score (Salimans et al., 2016): confident predictions, spread over the classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from crediting.interfaces import Features
from crediting.properties.measure import of_field


@dataclass(frozen=True)
class InceptionScore:
    """exp of the mean KL divergence between p(class | image) and p(class), over a single split.

    Args:
        extractor: whose logits are read, or null for the first chosen one that gives any.
    """

    extractor: str | None

    unit: ClassVar[str] = "effective classes"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "logits"

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure; the reference images play no part in it."""
        return of_field(self.needs, _inception_score)


def _inception_score(logits: Tensor) -> float:
    # the divergence as a difference of entropies, which is defined at probability 0, too
    probabilities = logits.softmax(dim=1)
    spread = torch.special.entr(probabilities.mean(dim=0)).sum()
    doubt = torch.special.entr(probabilities).sum(dim=1).mean()
    return float((spread - doubt).exp())
