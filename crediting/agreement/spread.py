"""How far a mean may be off that owes its luck to two crossed samples, coalitions and seeds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """The standard error of a mean and the degrees of freedom behind it; NaN where unknown."""

    std_error: float
    degrees: float

    @staticmethod
    def crossed(rows: float, n_rows: int, columns: float, n_columns: int) -> "Spread":
        """Return the spread of a mean, given its variance from other rows and from other columns.

        A sample of one says nothing of others: its variance is left out.
        Source: Satterthwaite, "An approximate distribution of estimates of variance components",
        1946, for the degrees of freedom.
        """
        samples = ((rows, n_rows - 1), (columns, n_columns - 1))
        known = [(variance, degrees) for variance, degrees in samples if degrees > 0]
        if not known:
            return UNKNOWN
        total = sum(variance for variance, _ in known)
        if total == 0:
            return Spread(0.0, float(max(degrees for _, degrees in known)))
        unsure = sum((variance / total) ** 2 / degrees for variance, degrees in known)
        return Spread(float(np.sqrt(total)), float(1 / unsure))

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval around the mean, by Student's t."""
        return float(stdtrit(self.degrees, (1 + CONFIDENCE) / 2)) * self.std_error


UNKNOWN = Spread(float("nan"), float("nan"))


def spread_of_mean(values: NDArray[np.float64]) -> Spread:
    """Return the spread of the mean of values (k, r), rows and columns both drawn at random.

    Other rows and other columns each vary the mean by the variance of their means, in which the
    luck of the single cells is counted twice and hence taken off once.
    Source: Cameron, Gelbach & Miller, "Robust Inference With Multiway Clustering", 2011.
    """
    n_rows, n_columns = values.shape
    rows = _variance(values.mean(axis=1))
    columns = _variance(values.mean(axis=0))
    if n_rows > 1 and n_columns > 1:
        cells = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        luck = float((cells**2).sum()) / ((n_rows - 1) * (n_columns - 1) * values.size)
        columns = max(0.0, columns - luck)
    return Spread.crossed(rows, n_rows, columns, n_columns)


def _variance(means: NDArray[np.float64]) -> float:
    """Return the variance of the mean of independent means (k,); 0 for fewer than two."""
    return float(means.var(ddof=1)) / len(means) if len(means) > 1 else 0.0
