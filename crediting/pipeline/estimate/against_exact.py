"""How far estimated credits are from exact ones, where every coalition of a game is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crediting.game.attribution import Attribution
from crediting.reporting.formats import csv_text

_ROUNDING = 1e-9  # as a share of the largest value


@dataclass(frozen=True)
class Comparison:
    """Estimated Shapley values beside the exact ones (n,) of the same utilities."""

    attribution: Attribution
    exact: NDArray[np.float64]

    @property
    def squared_error(self) -> float:
        """Squared error over that of an equal split; NaN where an equal split is right."""
        unit = float(np.abs(self.exact).max()) or 1.0  # squares of utilities may be too large
        scale = float((((self.exact - self.exact.mean()) / unit) ** 2).sum())
        error = float((((self.attribution.credits - self.exact) / unit) ** 2).sum())
        return error / scale if scale > len(self.exact) * _ROUNDING**2 else math.nan

    @property
    def inside(self) -> int | None:
        """How many exact values lie in the intervals of the estimates; None without intervals."""
        low, high = self.attribution.ci_low, self.attribution.ci_high
        if np.isnan([low, high]).any():
            return None
        rounding = _ROUNDING * float(np.abs(self.exact).max())
        return int(((low - rounding <= self.exact) & (self.exact <= high + rounding)).sum())

    @property
    def sentence(self) -> str:
        """Say how far they are apart, and whether the intervals know."""
        far = f"{self.squared_error:.3g} times that of an equal split"
        if math.isnan(self.squared_error):
            far = "without a scale, as all exact values are equal"
        sure = f"; {self.inside} of {len(self.exact)} exact values lie in their intervals"
        return (
            "All coalitions are recorded: the squared error against the exact Shapley values of "
            f"these utilities is {far}{'' if self.inside is None else sure}."
        )

    def to_csv(self, names: Sequence[str]) -> str:
        """Return exact values, credits and their differences, a row per contributor."""
        credits = self.attribution.credits
        columns = (names, self.exact.tolist(), credits.tolist(), (credits - self.exact).tolist())
        return csv_text(["contributor", "exact", "credit", "error"], zip(*columns, strict=True))
