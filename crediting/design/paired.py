"""Coalitions drawn in pairs: each is followed by its complement, and none comes twice.

Pairing cancels the part of a game that has equal values on a coalition and its complement, which
says nothing about Shapley values.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crediting.design import drawing
from crediting.design.shapley_kernel import size_probabilities
from crediting.game.game import Sample


@dataclass(frozen=True)
class PairedUniform:
    """Distinct pairs whose sizes are uniform over 1..n-1: the leverage scores of the regression.

    An odd budget ends with half a pair. There are 2^n - 2 proper coalitions: a larger budget
    draws them all and stops. Log-probabilities are those of one draw, before repeats are skipped,
    and equal for both halves of a pair.

    Raises:
        ConfigError: the budget is below 1.

    Source: Musco & Witter, "Provably Accurate Shapley Value Estimation via Leverage Score
    Sampling", 2025.
    """

    budget: int
    seed: int

    name: ClassVar[str] = "paired_uniform"

    def __post_init__(self) -> None:
        drawing.check_budget(self.budget)

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (min(budget, 2^n - 2), n) with their log-probabilities."""
        return _distinct_pairs(drawing.uniform_size_law(n_players), self.budget, self.seed)


@dataclass(frozen=True)
class PairedKernel:
    """Distinct pairs whose sizes follow the Shapley kernel: most are nearly empty or nearly full.

    An odd budget ends with half a pair. There are 2^n - 2 proper coalitions: a larger budget
    draws them all and stops. Log-probabilities are those of one draw, before repeats are skipped,
    and equal for both halves of a pair.

    Raises:
        ConfigError: the budget is below 1.

    Source: Covert & Lee, "Improving KernelSHAP", 2021 (paired sampling).
    """

    budget: int
    seed: int

    name: ClassVar[str] = "paired_kernel"

    def __post_init__(self) -> None:
        drawing.check_budget(self.budget)

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (min(budget, 2^n - 2), n) with their log-probabilities."""
        return _distinct_pairs(size_probabilities(n_players), self.budget, self.seed)


def _distinct_pairs(law: drawing.Floats, budget: int, seed: int) -> Sample:
    n_players = len(law) + 1
    blocks = drawing.subsets_by_law(np.random.default_rng(seed), law)
    halves = drawing.without_repeats(blocks, paired=True)
    coalitions = drawing.first(drawing.with_complements(halves), budget, 2**n_players - 2)
    return Sample(coalitions, drawing.log_probabilities(coalitions, law))
