"""Small games whose Shapley values are known in closed form: oracles for estimators."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from crediting.game.coalition import CoalitionMatrix


class ToyGame(Protocol):
    """A game, coalitions (m, n) -> utilities (m,), that knows its Shapley values (n,)."""

    @property
    def n_players(self) -> int:
        """Number of players n."""

    @property
    def shapley_values(self) -> NDArray[np.float64]:
        """The Shapley values, (n,)."""

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        """Return the utilities, (m,), of coalitions (m, n)."""


@dataclass(frozen=True)
class Additive:
    """Every player adds a fixed weight whoever else takes part; its value is that weight."""

    weights: tuple[float, ...]

    @property
    def n_players(self) -> int:
        """Number of players n."""
        return len(self.weights)

    @property
    def shapley_values(self) -> NDArray[np.float64]:
        """The weights, (n,)."""
        return np.array(self.weights, dtype=np.float64)

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        """Return the total weight of each coalition, (m,)."""
        return coalitions @ self.shapley_values


@dataclass(frozen=True)
class Gloves:
    """The first `left` players own a left glove (or shoe), the others a right one; a pair earns 1.

    Source: Shapley & Shubik, "Pure competition, coalitional power, and fair division", 1969.
    """

    left: int
    right: int

    @property
    def n_players(self) -> int:
        """Number of players n."""
        return self.left + self.right

    @property
    def shapley_values(self) -> NDArray[np.float64]:
        """For each player the chance to complete a pair on arrival in random order, (n,)."""
        values = [_chance_of_pair(self.left, self.right), _chance_of_pair(self.right, self.left)]
        return np.repeat(values, [self.left, self.right])

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        """Return the number of pairs in each coalition, (m,)."""
        left = coalitions[:, : self.left].sum(axis=1)
        right = coalitions[:, self.left :].sum(axis=1)
        return np.minimum(left, right).astype(np.float64)


def _chance_of_pair(same: int, other: int) -> float:
    """Return the chance that a player finds more of the `other` than of the `same` side arrived."""
    others = same + other - 1
    return sum(
        comb(same - 1, ahead) * comb(other, needed) / comb(others, ahead + needed)
        for ahead in range(same)
        for needed in range(ahead + 1, other + 1)
    ) / (others + 1)


@dataclass(frozen=True)
class Airport:
    """A coalition costs as much as its dearest member: the longest runway serves all. Costs >= 0.

    Source: Littlechild & Owen, "A simple expression for the Shapley value in a special case", 1973.
    """

    costs: tuple[float, ...]

    @property
    def n_players(self) -> int:
        """Number of players n."""
        return len(self.costs)

    @property
    def shapley_values(self) -> NDArray[np.float64]:
        """Every stretch of runway is shared equally among those who need it, (n,)."""
        costs = np.array(self.costs, dtype=np.float64)
        order = np.argsort(costs)
        stretches = np.diff(costs[order], prepend=0.0)
        values = np.empty(self.n_players)
        values[order] = np.cumsum(stretches / np.arange(self.n_players, 0, -1))
        return values

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        """Return the largest cost in each coalition, (m,)."""
        return (coalitions * np.array(self.costs, dtype=np.float64)).max(axis=1)


@dataclass(frozen=True)
class UnanimitySum:
    """A weighted sum of unanimity games: a carrier earns its weight once all of it takes part.

    Every game with v(empty) = 0 is such a sum. Source: Shapley, "A value for n-person games", 1953.
    """

    n_players: int
    carriers: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]

    @classmethod
    def random(cls, n_players: int, terms_per_order: Sequence[int], seed: int) -> Self:
        """Draw carriers uniformly, weights from N(0, 1); entry k counts the carriers of k + 1."""
        generator = np.random.default_rng(seed)
        carriers = tuple(
            tuple(generator.choice(n_players, order, replace=False).tolist())
            for order, terms in enumerate(terms_per_order, start=1)
            for _ in range(terms)
        )
        return cls(n_players, carriers, tuple(generator.normal(size=len(carriers)).tolist()))

    @property
    def shapley_values(self) -> NDArray[np.float64]:
        """Every carrier shares its weight equally among its members, (n,)."""
        values = np.zeros(self.n_players)
        for carrier, weight in zip(self.carriers, self.weights, strict=True):
            values[list(carrier)] += weight / len(carrier)
        return values

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        """Return the weight of all carriers inside each coalition, (m,)."""
        utilities = np.zeros(len(coalitions))
        for carrier, weight in zip(self.carriers, self.weights, strict=True):
            utilities += weight * coalitions[:, list(carrier)].all(axis=1)
        return utilities


@dataclass(frozen=True)
class SymmetricMajority:
    """A coalition of more than half of the players wins 1.

    Source: Castro, Gomez & Tejada, "Polynomial calculation of the Shapley value based on
    sampling", 2009 (symmetric voting game).
    """

    n_players: int

    @property
    def shapley_values(self) -> NDArray[np.float64]:
        """Equal shares of 1, (n,)."""
        return np.full(self.n_players, 1 / self.n_players)

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        """Return 1 for winning coalitions and 0 for the others, (m,)."""
        return (coalitions.sum(axis=1) > self.n_players / 2).astype(np.float64)


@dataclass(frozen=True)
class NoisyGame:
    """A game observed with errors from N(0, scale^2) that depend on coalition and seed only.

    The Shapley values are those of the game behind the noise.
    """

    game: ToyGame
    scale: float
    seed: int

    @property
    def n_players(self) -> int:
        """Number of players n."""
        return self.game.n_players

    @property
    def shapley_values(self) -> NDArray[np.float64]:
        """The values without noise, (n,)."""
        return self.game.shapley_values

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        """Return the utilities with their errors, (m,)."""
        keys = np.packbits(coalitions, axis=1).tolist()
        errors = [np.random.default_rng([self.seed, *key]).normal() for key in keys]
        return self.game(coalitions) + self.scale * np.array(errors)
