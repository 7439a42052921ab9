"""Inception score (Salimans et al., 2016): confident predictions, spread over the classes."""

from collections.abc import Callable
from typing import ClassVar

import torch

from crediting.interfaces import Features


class InceptionScore:
    """exp of the mean KL divergence between p(class | image) and p(class), over a single split."""

    unit: ClassVar[str] = "effective classes"
    higher_is_better: ClassVar[bool] = True

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure; the reference images play no part in it."""
        return _inception_score


def _inception_score(generated: Features) -> float:
    # the divergence as a difference of entropies, which is defined at probability 0, too
    probabilities = generated.logits.softmax(dim=1)
    spread = torch.special.entr(probabilities.mean(dim=0)).sum()
    doubt = torch.special.entr(probabilities).sum(dim=1).mean()
    return float((spread - doubt).exp())
