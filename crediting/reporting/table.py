"""The credit table: an attribution with names, in rank order, and the facts of its caption."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crediting.game.attribution import Attribution


class CreditRow(NamedTuple):
    """One contributor: `examples` counts its training images, `share` is of the sum of credits."""

    contributor: str
    examples: int
    credit: float
    std_error: float
    ci_low: float
    ci_high: float
    share: float
    rank: int


COLUMNS = CreditRow._fields


@dataclass(frozen=True)
class CreditTable:
    """Credits of all contributors for one property, in its unit, the most deserving first."""

    rows: tuple[CreditRow, ...]
    property_name: str
    unit: str
    higher_is_better: bool
    estimator: str
    n_coalitions: int
    v_full: float
    v_empty: float
    efficiency_gap: float
    confidence: float

    @property
    def direction(self) -> str:
        """Say which way the property improves."""
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def interval_name(self) -> str:
        """Name the confidence level, or say why there are no intervals."""
        errors = [row.std_error for row in self.rows]
        if all(math.isnan(error) for error in errors):
            return "uncertainty unknown"
        if all(error == 0 for error in errors):
            return "no sampling error"
        return f"confidence level {100 * self.confidence:.6g}%"

    @property
    def caption(self) -> tuple[str, ...]:
        """Say in three lines what the table shows, how it was estimated, what is shared out."""
        name = self.property_name
        unit = f" [{self.unit}]" if self.unit else ""
        sign = "" if self.higher_is_better else f"; negative credit lowers {name}, i.e. improves it"
        return (
            f"Property: {name}{unit}, {self.direction}{sign}.",
            f"Estimator: {self.estimator}, {self.n_coalitions:,} coalitions, {self.interval_name}.",
            f"v(N) = {self.v_full:.4g}, v(empty) = {self.v_empty:.4g}, "
            f"efficiency gap = {self.efficiency_gap:.4g}.",
        )


def credit_table(
    attribution: Attribution,
    names: Sequence[str],
    examples: Sequence[int],
    property_name: str,
    unit: str,
    higher_is_better: bool,
) -> CreditTable:
    """Return the table of an attribution of n contributors.

    `names` (n,) and `examples` (n,), the training images of each, are in player order.

    Raises:
        ValueError: names, examples and credits are not equally many.
    """
    columns = (
        names,
        [int(count) for count in examples],
        attribution.credits.tolist(),
        attribution.std_errors.tolist(),
        attribution.ci_low.tolist(),
        attribution.ci_high.tolist(),
        attribution.shares.tolist(),
        attribution.ranks(higher_is_better).tolist(),
    )
    rows = [CreditRow(*cells) for cells in zip(*columns, strict=True)]
    return CreditTable(
        rows=tuple(sorted(rows, key=lambda row: row.rank)),
        property_name=property_name,
        unit=unit,
        higher_is_better=higher_is_better,
        estimator=attribution.estimator,
        n_coalitions=attribution.n_coalitions,
        v_full=float(attribution.v_full),
        v_empty=float(attribution.v_empty),
        efficiency_gap=attribution.efficiency_gap,
        confidence=attribution.confidence,
    )
