"""Money shared out by credit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crediting.game.attribution import Attribution
from crediting.reporting.grid import MONEY, Cell, Column, Estimate, Grid

Floats = NDArray[np.float64]

_ROUNDING = 1e-9
"""Share of what credits are of, below which a credit is zero."""


@dataclass(frozen=True)
class Fund:
    """An amount of money to share among n contributors by their credits for one property.

    Whoever has credit in the property's direction gets a part in proportion to it; whoever has
    none, or harms the property, gets nothing and owes nothing.
    """

    amount: float
    attribution: Attribution
    higher_is_better: bool

    @property
    def parts(self) -> Floats:
        """What everybody gets, (n,), in hundredths that sum to the amount; or nothing at all.

        Nobody gets anything where no credit is in the property's direction. Hundredths that remain
        go to those of whom rounding down took most.
        """
        exact = 100 * self._shared(self.attribution.credits[None])[0]
        hundredths = np.floor(exact.round(6))  # 29 % of 100 are 28.999999999999996
        left = round(exact.sum() - hundredths.sum())
        hundredths[np.argsort(hundredths - exact, kind="stable")[:left]] += 1
        return hundredths / 100

    @property
    def draws(self) -> Floats:
        """What everybody gets by credits that are as plausible, (r, n); none where unknown."""
        return self._shared(self.attribution.draws)

    def _shared(self, credits: Floats) -> Floats:
        ends = (self.attribution.v_full, self.attribution.v_empty)
        zero = _ROUNDING * max(map(abs, ends))
        good = credits if self.higher_is_better else -credits
        deserved = np.where(good > zero, good, 0.0)
        total = deserved.sum(axis=1, keepdims=True)
        return self.amount * deserved / np.where(total > 0, total, 1.0)


def payout_grid(funds: Mapping[str, Fund], names: Sequence[str]) -> Grid:
    """Return what everybody gets of all funds, by property and in sum, most first.

    Args:
        funds: by property, of the same n contributors.
        names: (n,) in player order.
    """
    parts = {name: fund.parts for name, fund in funds.items()}
    totals = np.sum(list(parts.values()), axis=0).round(2)
    low, high = _ends(funds)
    rows: list[list[Cell]] = []
    for i in np.argsort(-totals, kind="stable"):
        by_property = [float(column[i]) for column in parts.values()] if len(funds) > 1 else []
        payout = Estimate(float(totals[i]), float(low[i]), float(high[i]))
        rows.append([names[i], *by_property, payout])
    columns = [Column(f"for {name}", MONEY) for name in funds] if len(funds) > 1 else []
    return Grid(
        "Payout",
        [Column("contributor", ""), *columns, Column("payout", MONEY)],
        rows,
        [*(_basis(name, fund) for name, fund in funds.items()), *_interval_note(funds)],
    )


def _ends(funds: Mapping[str, Fund]) -> tuple[Floats, Floats]:
    """Return the ends (n,) of the intervals of everybody's sums; NaN where unknown.

    The credits of different properties are drawn by the same random numbers, so their draws are
    put in orders of their own before they are added: their errors are taken as independent.
    """
    draws = [fund.draws for fund in funds.values()]
    n_players = draws[0].shape[1]
    if any(len(drawn) == 0 for drawn in draws):
        return np.full(n_players, np.nan), np.full(n_players, np.nan)
    size = max(map(len, draws))
    orders = [np.random.default_rng(place).permutation(size) for place in range(len(draws))]
    shuffled = [np.resize(one, (size, n_players))[o] for one, o in zip(draws, orders, strict=True)]
    tail = (1 - _confidence(funds)) / 2
    low, high = np.quantile(np.sum(shuffled, axis=0), [tail, 1 - tail], axis=0).round(2)
    return low, high


def _confidence(funds: Mapping[str, Fund]) -> float:
    return min(fund.attribution.confidence for fund in funds.values())


def _basis(name: str, fund: Fund) -> str:
    if not fund.parts.any():
        return f"Nobody improves {name}: its {fund.amount:,.2f} is not paid out."
    harm = "negative" if fund.higher_is_better else "positive"
    return (
        f"{fund.amount:,.2f} for {name}, in proportion to credits; who has a {harm} credit gets "
        "nothing of it."
    )


def _interval_note(funds: Mapping[str, Fund]) -> list[str]:
    if any(len(fund.attribution.draws) == 0 for fund in funds.values()):
        return ["How far payouts may be off is unknown, as it is for the credits."]
    together = ", properties taken as independent" if len(funds) > 1 else ""
    return [
        f"Intervals: {100 * _confidence(funds):.6g}%, from the uncertainty of credits{together}."
    ]
