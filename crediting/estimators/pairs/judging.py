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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from crediting.estimators.pairs.differences import Pairs

Floats = NDArray[np.float64]

SURE = 0.01
"""Credits are spread anew if pairs contradict them so surely: a probability by chance at most."""
FEWEST_DEGREES = 3
"""With fewer pairs that count, how much the spread is off cannot be told."""


class Spread(NamedTuple):
    """How much further apart credits should lie: that share of what they lie apart, 0 for none.

    `error` is its standard error by the pairs, which are as good as so many `degrees` of freedom
    and one more; `chance` is how probable so much would be if credits erred as they claim.
    """

    share: float
    error: float
    degrees: float
    chance: float

    @property
    def is_off(self) -> bool:
        """Whether credits lie too near to one another, or too far apart, beyond doubt."""
        return self.degrees > FEWEST_DEGREES and self.chance < SURE

    @property
    def variance(self) -> float:
        """Of the share; that of a Student variable."""
        return self.error**2 * self.degrees / (self.degrees - 2)


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
    unseen = np.where(pairs.always_there, 0, taken)
    predicted = pairs.signs @ apart - unseen
    missed = pairs.differences - pairs.signs @ credits + unseen
    weighed = pairs.weights * predicted
    scale = float(weighed @ predicted)
    if not scale:
        return Spread(0.0, 0.0, 0.0, 1.0)
    root = np.sqrt(pairs.weights)[:, None]
    curve = np.linalg.lstsq(root * size_curve(pairs), root[:, 0] * missed)[0]
    left = missed - size_curve(pairs) @ curve
    share = float(weighed @ left) / scale
    squares = (weighed * (left - share * predicted)) ** 2
    squares = squares[~pairs.always_there]  # others might have been drawn in place of the rest
    total, fourth = float(squares.sum()), float((squares**2).sum())
    degrees = total**2 / fourth - 1 if fourth else 0.0
    error = np.sqrt(total) / scale
    doubt = np.hypot(error, np.sqrt(apart @ claimed @ apart) / (apart @ apart))
    chance = 2 * stats.t.sf(abs(share) / doubt, degrees) if degrees > 0 and doubt else 1.0
    return Spread(share, float(error), degrees, float(chance))
