"""Coalitions decided by a fair coin per contributor, for Banzhaf values."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crediting.design import drawing
from crediting.game.game import Sample


@dataclass(frozen=True)
class Bernoulli:
    """`budget` independent draws: every contributor is in with probability one half.

    All 2^n coalitions are equally likely, the empty and the grand one among them; rows may repeat.

    Raises:
        ConfigError: the budget is below 1.

    Source: Wang & Jia, "Data Banzhaf: A Robust Data Valuation Framework for Machine Learning",
    2023.
    """

    budget: int
    seed: int

    name: ClassVar[str] = "bernoulli"

    def __post_init__(self) -> None:
        drawing.check_budget(self.budget)

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (budget, n), each with the log-probability -n log 2."""
        generator = np.random.default_rng(self.seed)
        coalitions = generator.integers(2, size=(self.budget, n_players), dtype=bool)
        return Sample(coalitions, np.full(self.budget, -n_players * math.log(2)))
