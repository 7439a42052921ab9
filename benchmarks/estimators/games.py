"""Games whose Shapley values are known: recorded in full, or toys with all that real ones have."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crediting.game import EvaluatedSample, Sample
from crediting.game.coalition import CoalitionMatrix, all_coalitions
from crediting.game.enumeration import shapley_values
from crediting.game.recorded import read_recorded

HERE = Path(__file__).resolve().parent
RECORDED = {"digits": HERE / "digits_game.csv", "shards": HERE / "shards_game.csv"}
TOY_PLAYERS, NOISE_SHARES = (10, 20, 60, 200), (0.0, 0.1, 0.3)


@dataclass(frozen=True)
class KnownGame:
    """A game, its Shapley values (n,), and the standard deviation of the noise it is seen with."""

    name: str
    game: Callable[[CoalitionMatrix], NDArray[np.float64]]
    values: NDArray[np.float64]
    noise: float

    def seen(self, seed: int) -> Callable[[CoalitionMatrix], NDArray[np.float64]]:
        """Return the game with noise that depends on the coalition and a seed alone."""

        def noisy(coalitions: CoalitionMatrix) -> NDArray[np.float64]:
            utilities = self.game(coalitions)
            if not self.noise:
                return utilities
            keys = np.packbits(coalitions, axis=1).tolist()
            errors = [np.random.default_rng([seed, *key]).normal() for key in keys]
            return utilities + self.noise * np.array(errors)

        return noisy

    def play(self, sample: Sample, seed: int) -> EvaluatedSample:
        """Evaluate a sample, the variance of its noise measured.

        Of a game that was recorded without replicates nothing is known of noise, and its values
        are those of the utilities as they are.
        """
        game = self.seen(seed)
        n_players = len(self.values)
        ends = game(np.stack([np.zeros(n_players, bool), np.ones(n_players, bool)]))
        return EvaluatedSample(
            sample.coalitions,
            sample.log_probabilities,
            game(sample.coalitions),
            float(ends[0]),
            float(ends[1]),
            float("nan") if self.name.split()[0] in RECORDED else self.noise**2,
        )

    def error(self, credits: NDArray[np.float64]) -> float:
        """Return the squared error over the centred variance; 1 is that of an equal split."""
        apart = ((credits - self.values) ** 2).sum()
        return float(apart / ((self.values - self.values.mean()) ** 2).sum())


def recorded_games() -> Iterator[KnownGame]:
    """Yield every property of the recorded games."""
    for name, path in RECORDED.items():
        recorded = read_recorded(path, None)
        n_players = recorded.n_players
        everything = all_coalitions(n_players)
        for measured in recorded.properties:
            utilities = recorded.of(measured)(everything)
            yield KnownGame(
                f"{name} {measured}", Lookup(utilities), shapley_values(utilities), noise=0.0
            )


@dataclass(frozen=True)
class Lookup:
    """A game by all its utilities (2^n,)."""

    utilities: NDArray[np.float64]

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        return self.utilities[coalitions @ (1 << np.arange(coalitions.shape[1]))]


def toy_game(n_players: int, noise_share: float, seed: int) -> KnownGame:
    """Return a toy game with noise of a share of its standard deviation over coalitions."""
    game = Toy.drawn(n_players, seed)
    coin = np.random.default_rng(1).random((2000, n_players)) < 0.5
    name = f"toy n={n_players} noise={noise_share}"
    return KnownGame(name, game, game.values, noise_share * float(game(coin).std()))


@dataclass(frozen=True)
class Toy:
    """Weights, interactions of two and three, and a saturation in the size of the coalition."""

    weights: NDArray[np.float64]
    couples: NDArray[np.float64]
    triples: NDArray[np.int64]
    worths: NDArray[np.float64]
    saturation: float

    @classmethod
    def drawn(cls, n: int, seed: int) -> "Toy":
        rng = np.random.default_rng([n, seed])
        couples = np.triu(rng.normal(0, 0.4, (n, n)), 1) * (rng.random((n, n)) < min(1, 10 / n))
        triples = np.array([rng.permutation(n)[:3] for _ in range(2 * n)])
        return cls(rng.gamma(2.0, 1.0, n), couples, triples, rng.normal(0, 0.8, 2 * n), 0.6 * n)

    @property
    def values(self) -> NDArray[np.float64]:
        shared = (self.couples.sum(axis=0) + self.couples.sum(axis=1)) / 2
        values = self.weights + shared + self.saturation * (1 - np.exp(-3)) / len(self.weights)
        np.add.at(values, self.triples.ravel(), np.repeat(self.worths / 3, 3))
        return values

    def __call__(self, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        c = coalitions.astype(float)
        three = coalitions[:, self.triples].all(axis=2) @ self.worths
        size = self.saturation * (1 - np.exp(-3 * c.mean(axis=1)))
        return c @ self.weights + ((c @ self.couples) * c).sum(axis=1) + three + size
