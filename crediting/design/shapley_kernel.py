"""Coalitions drawn from the Shapley kernel, as the paper does."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crediting.design import drawing
from crediting.game.coalition import Coalition
from crediting.game.game import Sample


def size_probabilities(n_players: int) -> NDArray[np.float64]:
    """Return P(s) for the coalition sizes s = 1..n-1, (n - 1,), proportional to (n-1)/(s(n-s)).

    This is the Shapley kernel times C(n, s), the number of coalitions of that size.
    Source: Lundberg & Lee, "A unified approach to interpreting model predictions", 2017, theorem 2.
    """
    sizes = np.arange(1, n_players)
    weights = (n_players - 1) / (sizes * (n_players - sizes))
    return weights / weights.sum()


@dataclass(frozen=True)
class ShapleyKernel:
    """`budget` independent draws: a size by `size_probabilities`, then a uniform set of that size.

    Rows may repeat; the empty and the grand coalition are never drawn. Row j comes from its own
    stream, so that a smaller budget is a prefix of a larger one and reuses its evaluations.

    Raises:
        ConfigError: the budget is below 1.

    Source: Lu et al., "An Efficient Framework for Crediting Data Contributors of Diffusion Models",
    2025, eq. 5; the sampling is that of Covert & Lee, "Improving KernelSHAP", 2021.
    """

    budget: int
    seed: int

    name: ClassVar[str] = "shapley_kernel"

    def __post_init__(self) -> None:
        drawing.check_budget(self.budget)

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (budget, n) with their log-probabilities (budget,)."""
        law = size_probabilities(n_players)
        coalitions = np.stack([self._draw(row, law) for row in range(self.budget)])
        return Sample(coalitions, drawing.log_probabilities(coalitions, law))

    def _draw(self, row: int, law: NDArray[np.float64]) -> Coalition:
        n_players = len(law) + 1
        generator = np.random.default_rng([self.seed, row])
        size = 1 + generator.choice(len(law), p=law)
        coalition = np.zeros(n_players, dtype=bool)
        coalition[generator.choice(n_players, size, replace=False)] = True
        return coalition
