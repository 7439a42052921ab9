"""The outcome of an estimator: credits per contributor with their uncertainty."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


_ROUNDING = 1e-9
"""Share of the credits' sizes below which their sum, or what two of them differ by, is zero."""

_ORDERS = 10_000
"""How often those that tie are put in order where their credits are certain."""


@dataclass(frozen=True)
class Attribution:
    """Credits of n contributors for one property, in the unit of that property.

    `credits`, `std_errors`, `ci_low`, `ci_high` and `noise_errors` have shape (n,). An exact
    attribution has standard errors of zero; one whose uncertainty is unknown has NaN there and in
    its interval.
    """

    credits: Floats
    std_errors: Floats
    ci_low: Floats
    ci_high: Floats
    noise_errors: Floats
    """The part of the standard errors that comes from the noise of training and generating, which
    more replicates or images would lower; NaN where no replicate has measured it."""
    draws: Floats
    """Credits (r, n) that are as plausible as these, drawn jointly; none where that is unknown."""
    confidence: float
    v_empty: float
    v_full: float
    estimator: str
    n_coalitions: int
    explanation: str
    """What a reader must know of how they came about, in one sentence; mostly nothing."""

    @property
    def efficiency_gap(self) -> float:
        """What the credits fail to hand out: (v(N) - v(empty)) - sum of credits."""
        return float(self.v_full - self.v_empty - self.credits.sum())

    @property
    def shares(self) -> Floats:
        """Credit over the sum of credits, (n,); NaN where that sum is zero up to rounding."""
        total = self.credits.sum()
        if abs(total) <= _ROUNDING * np.abs(self.credits).sum():
            return np.full_like(self.credits, np.nan)
        return self.credits / total

    def ranks(self, higher_is_better: bool = True) -> NDArray[np.int64]:
        """Return ranks 1..n, (n,), 1 for the most deserving; ties go by player order."""
        return _ranks(self.credits[None], higher_is_better)[0]

    def rank_draws(self, higher_is_better: bool = True) -> NDArray[np.int64]:
        """Return the ranks in each of the draws, (r, n); none where that is unknown.

        Chance orders those that tie up to rounding, so that each may have any of their ranks.
        """
        draws = np.repeat(self.draws, _ORDERS, axis=0) if len(self.draws) == 1 else self.draws
        chance = np.random.default_rng(0).standard_normal(draws.shape)
        scale = np.abs(self.credits).max() or 1.0
        return _ranks(draws + _ROUNDING * scale * chance, higher_is_better)

    def rank_probabilities(self, higher_is_better: bool = True) -> Floats:
        """Return the probability of contributor i to have rank k + 1, (n, n); NaN if unknown."""
        n_players = len(self.credits)
        if len(self.draws) == 0:
            return np.full((n_players, n_players), np.nan)
        ranks = self.rank_draws(higher_is_better)
        counts = [np.bincount(column - 1, minlength=n_players) for column in ranks.T]
        return np.array(counts) / len(ranks)

    def top_probabilities(self, top: int, higher_is_better: bool = True) -> Floats:
        """Return the probability of belonging to the `top` most deserving, (n,); NaN if unknown."""
        if len(self.draws) == 0:
            return np.full(len(self.credits), np.nan)
        return (self.rank_draws(higher_is_better) <= top).mean(axis=0)

    def rank_stability(self) -> float:
        """Return the mean rank correlation (Spearman) of draws with credits; NaN if unknown.

        1 says that nothing could change the order of the contributors.
        """
        n_players = len(self.credits)
        if len(self.draws) == 0 or n_players < 2:
            return float("nan")
        apart = (self.rank_draws() - self.ranks()).astype(np.float64)
        return float(1 - 6 * (apart**2).sum(axis=1).mean() / (n_players * (n_players**2 - 1)))


def _ranks(credits: Floats, higher_is_better: bool) -> NDArray[np.int64]:
    """Return the rank of every entry within its row, (r, n)."""
    order = np.argsort(-credits if higher_is_better else credits, axis=1, kind="stable")
    return np.argsort(order, axis=1) + 1
