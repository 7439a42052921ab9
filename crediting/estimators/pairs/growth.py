r"""How what a player adds changes with the size of the coalition, and how unlike others it is then.

Sizes are told as t, from -1 for nobody to 1 for everybody. Where utilities saturate in what their
coalitions weigh together, v(S) = 1 - exp(-c w(S)), w(N) = 1, the difference of a pair is

    d(S) = 2 exp(-c / 2) sinh(c t / 2 + y),    y = (c / 2) sum_i (w_i - 1 / n) x_i,

x_i being 1 for members and -1 for others. So coefficients of first order all grow like cosh(c t /
2), what the size does alone is sinh(c t / 2), and the rest is of second order in y, whose variance
is that of a sum over s members without replacement, s (n - s). What members weigh differs, and
games saturate otherwise, so that coefficients do not grow exactly so, each in its own way.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Growth(NamedTuple):
    """What the size t of a coalition changes in a player's coefficient.

    Everybody's changes alike with the `rate` c of a saturation, 0 for none, and everybody's by
    itself with further terms: one per power of t, of this `variance` each, against that of the
    coefficient.
    """

    variance: float
    powers: tuple[int, ...]
    rate: float = 0.0

    @property
    def variances(self) -> list[float]:
        """Of all terms, the coefficient's own first."""
        return [1.0] + [self.variance] * len(self.powers)

    def terms(self, t: Floats) -> list[Floats]:
        """Return every term at the sizes t (...), for a coefficient of 1: even in t, and 1 at 1."""
        return [saturating(t, self.rate) * t**power for power in (0, *self.powers)]

    def size_effects(self, t: Floats) -> Floats:
        """Return an orthonormal basis (p, up to 2) of the covariates at the sizes t (p,)."""
        bend = np.sinh(self.rate * t / 2) / np.sinh(self.rate / 2) if self.rate else t**3
        basis, stretches, _ = np.linalg.svd(np.column_stack([t, bend]), full_matrices=False)
        seen = stretches > stretches.max(initial=0) * len(t) * np.finfo(float).eps
        return basis[:, seen]


CONSTANT = Growth(0.0, ())
"""Of players that add as much to small coalitions as to large ones, but for triples."""


class Remainder(NamedTuple):
    """How much more what is left unexplained varies for very small and very large coalitions.

    With u = n^2 / (4 s (n - s)) for s of n members, the variance is u^a, a the `exponent`; or, if
    there is an `excess` k over what all sizes have alike, 1 + k u^a times the square of how
    coefficients grow at this `rate`.
    """

    exponent: float
    excess: float = 0.0
    rate: float = 0.0

    def variance(self, sizes: NDArray[np.int64], n_players: int) -> Floats:
        """Return it for coalitions of so many members (p,)."""
        by_size = (n_players**2 / (4 * sizes * (n_players - sizes))) ** self.exponent
        if not self.excess:
            return by_size
        grown = saturating((2 * sizes - n_players) / n_players, self.rate)
        return 1 + self.excess * by_size * grown**2


def saturating(t: Floats, rate: float) -> Floats:
    """Return cosh(rate t / 2) over its value at t = 1."""
    return np.cosh(rate * t / 2) / np.cosh(rate / 2)
