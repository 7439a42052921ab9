"""The outcome of an estimator: credits per contributor with their uncertainty."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Attribution:
    """Credits of n contributors for one property, in the unit of that property.

    `credits`, `std_errors`, `ci_low` and `ci_high` have shape (n,). An exact attribution has
    standard errors of zero; one whose uncertainty is unknown has NaN there and in its interval.
    """

    credits: NDArray[np.float64]
    std_errors: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]
    confidence: float
    v_empty: float
    v_full: float
    estimator: str
    n_coalitions: int

    @property
    def efficiency_gap(self) -> float:
        """What the credits fail to hand out: (v(N) - v(empty)) - sum of credits."""
        return float(self.v_full - self.v_empty - self.credits.sum())

    @property
    def shares(self) -> NDArray[np.float64]:
        """Credit over the sum of credits, (n,); NaN where that sum is zero."""
        total = self.credits.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(total == 0, np.nan, self.credits / total)

    def ranks(self, higher_is_better: bool = True) -> NDArray[np.int64]:
        """Return ranks 1..n, (n,), 1 for the most deserving; ties go by player order."""
        order = np.argsort(-self.credits if higher_is_better else self.credits, kind="stable")
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(1, len(order) + 1)
        return ranks


def exactly(
    credits: NDArray[np.float64], v_empty: float, v_full: float, estimator: str, n_coalitions: int
) -> Attribution:
    """Wrap credits that carry no sampling error."""
    return Attribution(
        credits=credits,
        std_errors=np.zeros_like(credits),
        ci_low=credits.copy(),
        ci_high=credits.copy(),
        confidence=1.0,
        v_empty=v_empty,
        v_full=v_full,
        estimator=estimator,
        n_coalitions=n_coalitions,
    )
