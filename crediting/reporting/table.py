"""The credit table: an attribution with names, in rank order, and the facts of its caption."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crediting.game.attribution import Attribution


class CreditRow(NamedTuple):
    """One contributor; unknown numbers are NaN, and None where they are whole.

    `examples` counts its training images, `noise_error` is the part of `std_error` that comes from
    noise, `share` is of the sum of credits, `rank_low` and `rank_high` are the ends of the rank's
    interval, `p_top` is the probability of belonging to the top k of the table.
    """

    contributor: str
    examples: int | None
    credit: float
    std_error: float
    noise_error: float
    ci_low: float
    ci_high: float
    share: float
    rank: int
    rank_low: int | None
    rank_high: int | None
    p_top: float


COLUMNS = CreditRow._fields


@dataclass(frozen=True)
class CreditTable:
    """Credits of all contributors for one property, in its unit, the most deserving first."""

    attribution: Attribution
    rows: tuple[CreditRow, ...]
    property_name: str
    unit: str
    higher_is_better: bool
    top: int
    notes: tuple[str, ...]
    """Further sentences that belong under the table."""

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
        return f"confidence level {100 * self.attribution.confidence:.6g}%"

    @property
    def noise_share(self) -> float:
        """Mean squared noise error over mean squared standard error, at most 1; NaN if unknown."""
        noise = math.fsum(row.noise_error**2 for row in self.rows)
        total = math.fsum(row.std_error**2 for row in self.rows)
        return float(np.minimum(noise / total, 1.0)) if total else noise

    @property
    def caption(self) -> tuple[str, ...]:
        """Say what the table shows, how it was estimated, how sure it is, and why; a line each."""
        name, found = self.property_name, self.attribution
        unit = f" [{self.unit}]" if self.unit else ""
        sign = "" if self.higher_is_better else f"; negative credit lowers {name}, i.e. improves it"
        lines = (
            f"Property: {name}{unit}, {self.direction}{sign}.",
            f"Estimator: {found.estimator}, {found.n_coalitions:,} coalitions, "
            f"{self.interval_name}.",
            f"v(N) = {found.v_full:.4g}, v(empty) = {found.v_empty:.4g}, "
            f"efficiency gap = {found.efficiency_gap:.4g}.",
            self._harm,
            self._ranks,
            f"noise_error: {self._noise}.",
            found.explanation,
            *self.notes,
        )
        return tuple(line for line in lines if line)

    @property
    def _harm(self) -> str:
        """Say why shares have another sign than merit; "" if they have not."""
        merit = self.attribution.credits.sum() * (1 if self.higher_is_better else -1)
        if merit >= 0 or any(math.isnan(row.share) for row in self.rows):
            return ""
        name = self.property_name
        return f"Together they worsen {name}, so whoever improves it has a negative share."

    @property
    def _ranks(self) -> str:
        """Say what is told of ranks; "" if it is unknown of all."""
        if all(row.rank_low is None for row in self.rows):
            return ""
        return (
            "rank_low to rank_high: interval of the rank; p_top: probability of a rank in the top "
            f"{self.top}."
        )

    @property
    def _noise(self) -> str:
        """Say what part of the error is noise, hence what would lower it most."""
        if any(math.isnan(row.noise_error) for row in self.rows):
            # nobody's examples are known where utilities come from a table of somebody's own
            recorded = any(row.examples is None for row in self.rows)
            twice = "rows that repeat them" if recorded else "replicates=2"
            return f"not measured; to measure it, evaluate coalitions twice ({twice})"
        if math.isnan(self.noise_share):
            return "standard error from the noise of training and generating alone"
        advice = "more coalitions" if self.noise_share < 0.5 else "more replicates or images"
        helps = f"; {advice} would help most" if any(row.std_error for row in self.rows) else ""
        return (
            f"noise of training and generating makes {100 * self.noise_share:.0f}% of the mean "
            f"squared error{helps}"
        )


def credit_table(
    attribution: Attribution,
    names: Sequence[str],
    examples: Sequence[int] | None,
    property_name: str,
    unit: str,
    higher_is_better: bool,
    top: int,
    notes: Sequence[str] = (),
) -> CreditTable:
    """Return the table of an attribution of n contributors.

    Args:
        attribution: of these contributors.
        names: (n,) in player order.
        examples: the training images of each, (n,), or None if unknown.
        property_name: what the credits are for.
        unit: of the property and its credits.
        higher_is_better: which way the property improves.
        top: how many are the top ones, of which the probability is told; at most n - 1.
        notes: sentences for the caption.

    Raises:
        ValueError: names, examples and credits are not equally many.
    """
    n_players = len(attribution.credits)
    top = max(1, min(top, n_players - 1))
    columns = (
        names,
        [None] * n_players if examples is None else [int(count) for count in examples],
        attribution.credits.tolist(),
        attribution.std_errors.tolist(),
        attribution.noise_errors.tolist(),
        attribution.ci_low.tolist(),
        attribution.ci_high.tolist(),
        attribution.shares.tolist(),
        attribution.ranks(higher_is_better).tolist(),
        *_rank_intervals(attribution, higher_is_better),
        attribution.top_probabilities(top, higher_is_better).tolist(),
    )
    rows = [CreditRow(*cells) for cells in zip(*columns, strict=True)]
    in_order = tuple(sorted(rows, key=lambda row: row.rank))
    return CreditTable(
        attribution, in_order, property_name, unit, higher_is_better, top, tuple(notes)
    )


def _rank_intervals(attribution: Attribution, higher_is_better: bool) -> list[list[int | None]]:
    """Return the ends (2, n) between which ranks lie at the attribution's confidence."""
    if len(attribution.draws) == 0:
        return [[None] * len(attribution.credits)] * 2
    draws = attribution.rank_draws(higher_is_better)
    tail = (1 - attribution.confidence) / 2
    low = np.quantile(draws, tail, axis=0, method="lower")
    high = np.quantile(draws, 1 - tail, axis=0, method="higher")
    return [low.astype(int).tolist(), high.astype(int).tolist()]
