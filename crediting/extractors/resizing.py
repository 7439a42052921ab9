"""Bicubic resizing as PIL does it to numbers, on any device: two products with sparse matrices."""

from functools import lru_cache

import torch
from torch import Tensor

_SHARPNESS = -0.5
_REACH = 2.0


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Return images (N, C, H, W) in 0..255 as float32 (N, C, height, width), cut off at 0 and 255.

    Not rounded to whole numbers; what PIL's `resize` with `BICUBIC` gives for images of mode F,
    which rounds to float32 between the two directions, too, and may begin with the other one.
    """
    across = weights(images.shape[3], width).to(images.device)
    down = weights(images.shape[2], height).to(images.device)
    wide = (images.double() @ across.T).float()
    return (down @ wide.double()).float().clamp(0, 255)


@lru_cache(maxsize=16)
def weights(given: int, wanted: int) -> Tensor:
    """Return how much each of `given` pixels in a row counts for each `wanted`, float64 (w, g).

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981; widened
    where images are made smaller, so that every pixel counts.
    """
    step = given / wanted
    spread = max(step, 1.0)
    centre = (torch.arange(wanted, dtype=torch.float64) + 0.5) * step
    first = (centre - _REACH * spread + 0.5).trunc().clamp(min=0)
    last = (centre + _REACH * spread + 0.5).trunc().clamp(max=given)
    place = torch.arange(given, dtype=torch.float64)
    near = (place >= first[:, None]) & (place < last[:, None])
    heights = _cubic(((place - centre[:, None] + 0.5) * (1 / spread)).abs()) * near
    return heights * (1 / heights.sum(1, keepdim=True))


def _cubic(x: Tensor) -> Tensor:
    a = _SHARPNESS
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, inner, torch.where(x < _REACH, outer, 0.0))
