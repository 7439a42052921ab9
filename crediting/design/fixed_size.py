"""Coalitions of one size, as the datamodel score has them."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crediting.design import drawing
from crediting.errors import ConfigError
from crediting.game.game import Sample


@dataclass(frozen=True)
class FixedSize:
    """Distinct uniform coalitions of floor(alpha n) contributors.

    There are C(n, floor(alpha n)) of them: a larger budget draws them all and stops.

    Raises:
        ConfigError: the budget is below 1, or alpha is not between 0 and 1.

    Source: Ilyas et al., "Datamodels", 2022; Lu et al., "An Efficient Framework for Crediting Data
    Contributors of Diffusion Models", 2025, whose main test has alpha = 0.5.
    """

    alpha: float
    budget: int
    seed: int

    name: ClassVar[str] = "fixed_size"

    def __post_init__(self) -> None:
        drawing.check_budget(self.budget)
        if not 0 < self.alpha < 1:
            raise ConfigError(
                "design.alpha: expected a share of the contributors between 0 and 1, "
                f"got {self.alpha}; 0.5 is usual."
            )

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (min(budget, C(n, floor(alpha n))), n), all equally likely.

        Raises:
            ConfigError: alpha is less than one contributor.
        """
        # 0.29 * 100 is 28.999999999999996 in floating point.
        size = math.floor(round(self.alpha * n_players, 9))
        if size == 0:
            raise ConfigError(
                f"design.alpha: expected at least one of {n_players} contributors, that is "
                f"{1 / n_players:.3g}, got {self.alpha}; increase it."
            )
        blocks = drawing.subsets_of_size(np.random.default_rng(self.seed), size, n_players)
        distinct = drawing.without_repeats(blocks, paired=False)
        coalitions = drawing.first(distinct, self.budget, math.comb(n_players, size))
        log_probability = -drawing.log_binomial(n_players, size)
        return Sample(coalitions, np.full(len(coalitions), log_probability))
