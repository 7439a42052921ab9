"""Random numbers that depend on what they are for, never on when or where they are drawn.

A stream is named by its identity (seed, purpose, replicate, step ...) and indexed by the ids of
images, so the noise that image 17 meets at step 40 is the same in every coalition that holds
image 17, on every worker, after every resume. Utilities of different coalitions thereby share
their randomness, and their differences carry less noise (common random numbers).
"""

import hashlib
import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def derive_seed(*identity: object) -> int:
    """Return a seed in 0..2^63-1 that is a hash of an identity."""
    text = "\0".join(str(part) for part in identity)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


class Stream:
    """A counter-based source: the word for (identity, id, position) is a hash of all three.

    The hash is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), applied once to the id and once
    to the position.
    """

    def __init__(self, *identity: object) -> None:
        self._key = derive_seed(*identity)

    def at(self, *identity: object) -> "Stream":
        """Return the stream of a more specific identity."""
        return Stream(self._key, *identity)

    @property
    def seed(self) -> int:
        """A seed in 0..2^63-1 for generators that are not indexed by ids."""
        return self._key

    def words(self, ids: Tensor, positions: int) -> Tensor:
        """Return hashed words, int64 (N, positions), for ids (N,)."""
        rows = _mix(ids.long() * _signed(_GOLDEN) + self._key)
        columns = torch.arange(1, positions + 1, device=ids.device) * _signed(_GOLDEN)
        return _mix(rows[:, None] + columns)

    def uniform(self, ids: Tensor) -> Tensor:
        """Return one number in [0, 1) per id, float64 (N,)."""
        return _shift(self.words(ids, 1)[:, 0], 11).double() * 2.0**-53

    def integers(self, ids: Tensor, high: int) -> Tensor:
        """Return one integer in 0..high-1 per id, int64 (N,)."""
        return (self.uniform(ids) * high).long()

    def normal(self, ids: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return standard normal numbers, float32 (N, *shape), by the Box-Muller transform."""
        size = math.prod(shape)
        words = self.words(ids, (size + 1) // 2)
        radius = (_shift(words, 40).float() + 1).mul_(2.0**-24).log_().mul_(-2).sqrt_()
        angle = (words & 0xFFFFFF).float().mul_(2 * math.pi * 2.0**-24)
        pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return pairs[:, :size].reshape(len(ids), *shape)

    def choose(self, ids: Tensor, count: int) -> Tensor:
        """Return `count` of the ids without replacement (all of them if there are fewer).

        Those with the lowest hash win, so that two overlapping sets choose overlapping subsets.
        """
        priority = self.words(ids, 1)[:, 0]
        return ids[torch.argsort(priority, stable=True)[:count]]


def _signed(word: int) -> int:
    """Return an unsigned 64-bit word as the int64 of equal bits."""
    return word - (1 << 64) if word >= 1 << 63 else word


def _shift(words: Tensor, bits: int) -> Tensor:
    """Shift right filling with zeros: torch's own shift of int64 fills with the sign."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _mix(words: Tensor) -> Tensor:
    words = (words ^ _shift(words, 30)) * _signed(_FIRST)
    words = (words ^ _shift(words, 27)) * _signed(_SECOND)
    return words ^ _shift(words, 31)
