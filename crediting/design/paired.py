"""Coalitions drawn in pairs: each is followed by its complement, and none comes twice.

Pairing cancels the part of a game that has equal values on a coalition and its complement, which
says nothing about Shapley values.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crediting.design import drawing
from crediting.design.shapley_kernel import size_probabilities
from crediting.game.coalition import Coalition, CoalitionMatrix
from crediting.game.game import Sample


@dataclass(frozen=True)
class PairedUniform:
    """Distinct pairs whose sizes are uniform over 1..n-1: the leverage scores of the regression.

    With `ends`, the n pairs of a single contributor and everybody else are among the first 3n
    coalitions, in random order. A Shapley value has every one of these 2n coalitions with weight
    1/n, all others with far less, and what a model of one contributor is worth can hardly be told
    from larger coalitions. They also are all that leave-one-out and add-one-in need. But they do
    not show what is noise, nor how contributors differ in company, so the first n / 2 of them take
    turns with other pairs.

    An odd budget ends with half a pair. There are 2^n - 2 proper coalitions: a larger budget
    draws them all and stops.

    Raises:
        ConfigError: the budget is below 1.

    Source: Musco & Witter, "Provably Accurate Shapley Value Estimation via Leverage Score
    Sampling", 2025.
    """

    budget: int
    seed: int
    ends: bool

    name: ClassVar[str] = "paired_uniform"

    def __post_init__(self) -> None:
        drawing.check_budget(self.budget)

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (min(budget, 2^n - 2), n) with their log-probabilities."""
        law = np.full(n_players - 1, 1 / (n_players - 1))
        return _distinct_pairs(law, self.budget, self.seed, self.ends)


@dataclass(frozen=True)
class PairedKernel:
    """Distinct pairs whose sizes follow the Shapley kernel: most are nearly empty or nearly full.

    An odd budget ends with half a pair. There are 2^n - 2 proper coalitions: a larger budget
    draws them all and stops.

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
        law = size_probabilities(n_players)
        return _distinct_pairs(law, self.budget, self.seed, ends=False)


def _distinct_pairs(law: drawing.Floats, budget: int, seed: int, ends: bool) -> Sample:
    n_players = len(law) + 1
    drawn = drawing.subsets_by_law(np.random.default_rng(seed), law)
    halves = _with_ends(drawn, n_players, seed) if ends else drawing.without_repeats(drawn, True)
    coalitions = drawing.first(drawing.with_complements(halves), budget, 2**n_players - 2)
    return Sample(coalitions, _log_probabilities(coalitions, law, ends))


def _with_ends(drawn: Iterator[CoalitionMatrix], n_players: int, seed: int) -> Iterator[Coalition]:
    """Yield the halves of distinct pairs, those of the ends early."""
    singles = np.random.default_rng(seed).permutation(np.eye(n_players, dtype=bool))
    alone = drawing.without_repeats([singles], paired=True)
    larger = drawing.without_repeats((block[_between(block)] for block in drawn), paired=True)
    taking_turns = n_players // 2 if n_players > 3 else 0  # of three, all pairs are ends
    for _ in range(taking_turns):
        yield next(larger)
        yield next(alone)
    yield from alone
    yield from larger


def _between(coalitions: CoalitionMatrix) -> NDArray[np.bool_]:
    """Return which coalitions (m, n) are of neither one contributor nor all but one, (m,)."""
    sizes = coalitions.sum(axis=1)
    return (sizes > 1) & (sizes < coalitions.shape[1] - 1)


def _log_probabilities(
    coalitions: CoalitionMatrix, law: drawing.Floats, ends: bool
) -> drawing.Floats:
    """Return how likely a row picked at random is each coalition, (m,)."""
    by_law = _between(coalitions) | (not ends)
    log_probabilities = drawing.log_shares(coalitions)
    if by_law.any():
        law = law.copy()
        law[[0, -1]] *= not ends
        inclusion = drawing.log_inclusion(coalitions[by_law], law / law.sum())
        log_probabilities[by_law] = inclusion - math.log(len(coalitions))
    return log_probabilities
