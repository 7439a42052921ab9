"""What pairs of complements say of credits that have not seen them, in terms of Shapley values.

Credits phi predict the difference v(S) - v(N without S) as sum_i x_i phi_i, x_i being 1 for members
and -1 for others. Weighed by the Shapley kernel, the mean squared error over all pairs is that of
the Shapley values plus 2 / (1 + 1/2 + ... + 1/(n - 1)) times the squared error of the credits,
whatever the game. So whichever credits predict best are nearest to the Shapley values, once every
pair weighs the kernel over its probability to be evaluated. Where all pairs weigh the same, those
of middling size decide, which Shapley values of a game that saturates predict badly. A curve of the
coalition's size is taken off first: it favours nobody, as errors in credits that sum to zero have
no mean over coalitions of one size.

Source: Charnes et al., "Extremal principle solutions of games in characteristic function form",
1988 (the kernel); Covert & Lee, "Improving KernelSHAP", 2021 (its matrix).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.estimators.pairs.differences import Pairs

Floats = NDArray[np.float64]

CONTRADICTED = 2.5
"""Standard errors by which pairs must contradict credits, for these to be spread anew. Then none of
192 samples of recorded games was, and none of 240 of toy games."""
FEWEST_PAIRS = 2
"""With no more that count, by how much the spread is off cannot be told."""
ROUNDING = 1e-9
"""Credits that lie no further apart than this share of the largest difference are alike."""
MOST_WIDENED = 3.0
"""The variance of what few pairs tell is taken for so many times what it seems to be at most."""


class Spread(NamedTuple):
    """How much further apart credits should lie: that share of what they lie apart, 0 for none.

    `error` is its standard error by as many as `n_pairs` equal pairs, `doubt` the one that counts
    in how far credits may be off as they claim themselves.
    """

    share: float
    error: float
    n_pairs: float
    doubt: float

    @property
    def is_off(self) -> bool:
        """Whether credits lie too near to one another, or too far apart, beyond doubt."""
        return self.n_pairs > FEWEST_PAIRS and abs(self.share) > CONTRADICTED * self.doubt

    @property
    def variance(self) -> float:
        """Of the share where it is off: of a Student variable, its degrees of freedom the pairs."""
        return self.error**2 * min(self.n_pairs / (self.n_pairs - 2), MOST_WIDENED)


def size_curve(pairs: Pairs) -> Floats:
    """Return t and t^3 for the relative size t, and t apart where utilities jump, (p, 3)."""
    inner = np.where(pairs.at_ends, 0, pairs.relative_sizes)
    ends = np.where(pairs.at_ends, pairs.relative_sizes, 0)
    return np.column_stack([inner, inner**3, ends])


def spread(pairs: Pairs, credits: Floats, claimed: Floats, taken: Floats) -> Spread:
    """Return how far apart pairs want credits to be that have not seen them.

    Args:
        pairs: n players, p pairs.
        credits: to be judged, (n,).
        claimed: covariance of their errors, (n, n).
        taken: how much of what credits predict of a pair's difference comes from itself, (p,).
    """
    apart = credits - credits.mean()
    if abs(apart).max() <= ROUNDING * abs(pairs.differences).max():
        return Spread(0.0, 0.0, 0.0, 0.0)
    unseen = np.where(pairs.always_there, 0, taken)
    predicted = pairs.signs @ apart - unseen
    missed = pairs.differences - pairs.signs @ credits + unseen
    weighed = pairs.weights * predicted
    scale = float(weighed @ predicted)
    root = np.sqrt(pairs.weights)[:, None]
    curve = np.linalg.lstsq(root * size_curve(pairs), root[:, 0] * missed)[0]
    left = missed - size_curve(pairs) @ curve
    share = float(weighed @ left) / scale
    squares = (weighed * (left - share * predicted)) ** 2
    squares = squares[~pairs.always_there]  # others might have been drawn in place of the rest
    total, fourth = float(squares.sum()), float((squares**2).sum())
    error = math.sqrt(total) / scale
    doubt = math.hypot(error, math.sqrt(apart @ claimed @ apart) / (apart @ apart))
    return Spread(share, error, total**2 / fourth if fourth else 0.0, doubt)
