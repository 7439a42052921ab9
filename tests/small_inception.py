"""Inception-v3 looks at images of 75 pixels, the least it can, which is eight times as fast."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from crediting.extractors import inception_v3

SIDE = 75
_prepared = inception_v3._prepared


def _prepared_smaller(images):
    smaller = F.interpolate(_prepared(images), size=(SIDE, SIDE))
    return smaller.contiguous(memory_format=torch.channels_last)


def look_at_less(setattr: Callable[[object, str, object], None]) -> None:
    """Replace what prepares images, by `setattr` or what undoes it in the end."""
    setattr(inception_v3, "_prepared", _prepared_smaller)
