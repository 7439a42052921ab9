"""Inception score (Salimans et al., 2016): confident predictions, spread over the classes."""

import warnings
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
    from torchmetrics.image.inception import InceptionScore as Metric

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # one split has no deviation, and the metric says so; it shuffles by the global generator
        warnings.simplefilter("ignore", UserWarning)
        metric = Metric(feature=torch.nn.Identity(), splits=1)
        metric.update(generated.logits)
        score, _ = metric.compute()
    return float(score)
