"""Random projection of long rows to few dimensions, which nearly keeps their inner products."""

import math

import torch
from torch import Tensor

from crediting.randomness import Stream

_ENTRY = 16  # bytes for each entry of a block while it is drawn
_TILE = 2**16  # entries drawn at a time on a CPU: what its cache holds


def project(rows: Tensor, dimensions: int, stream: Stream, memory: int) -> Tensor:
    """Return rows times a random matrix R, float32 (n, dimensions), on their device.

    The entries of R (D, dimensions) are normal with variance 1 / dimensions and depend on the
    stream only. They are drawn block by block, and forgotten.

    Args:
        rows: float32 (n, D).
        dimensions: of the result.
        stream: the randomness of R.
        memory: bytes for a block, which does not change the result but for rounding.

    Source: Park et al. 2023 (TRAK), section 3.2; the paper, by the library traker.
    """
    coordinates = torch.arange(rows.shape[1], device=rows.device)
    projected = rows.new_zeros(len(rows), dimensions)
    size = max(1, memory // (_ENTRY * dimensions))
    for block, own in zip(coordinates.split(size), rows.split(size, dim=1), strict=True):
        projected += own @ _entries(block, dimensions, stream)
    return projected.div_(math.sqrt(dimensions))


def _entries(coordinates: Tensor, dimensions: int, stream: Stream) -> Tensor:
    """Return the rows of R for some coordinates, before the division."""
    if coordinates.device.type != "cpu":
        return stream.normal(coordinates, (dimensions,))
    entries = torch.empty(len(coordinates), dimensions)
    tile = max(1, _TILE // dimensions)
    for ids, part in zip(coordinates.split(tile), entries.split(tile), strict=True):
        part.copy_(stream.normal(ids, (dimensions,)))
    return entries
