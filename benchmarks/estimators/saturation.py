"""How credits come out where a model is good already with a part of its contributors.

    python benchmarks/estimators/saturation.py [--form ratio]

Games v(S) = 1 - exp(-c w(S)) of 50 contributors, whose weights are drawn and sum to 1, so that a
share of 1 / c of them brings the first 63 %; of the form ratio, v(S) = c w(S) / (1 + c w(S)), where
it brings the first half, a form that no estimator knows. Exact values are integrals of products.
Prints, per game, budget and noise, the squared error of every scheme over that of an equal split,
and the share of the values in its intervals (20 minutes).
"""

import argparse
from itertools import product

import numpy as np
from games import KnownGame
from numpy.typing import NDArray
from schemes import ADJUSTED, AUTO, DEFAULT, PAPER, estimate

from crediting.game.coalition import CoalitionMatrix

PLAYERS, PER_PLAYER, NOISE_SHARES = 50, (2, 5, 20, 80), (0.0, 0.1)
RATES = {"exponential": (8, 20, 50), "ratio": (20, 100)}
SCHEMES = (DEFAULT, ADJUSTED, AUTO, PAPER)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3, help="of weights and coalitions")
    parser.add_argument("--form", choices=RATES, default="exponential")
    asked = parser.parse_args()
    draws = range(asked.draws)
    print("| c | noise | coalitions | " + " | ".join(f"{s}: error, inside" for s in SCHEMES) + " |")
    print("| ---: | ---: | ---: |" + " ---: |" * len(SCHEMES))
    for rate, noise, times in product(RATES[asked.form], NOISE_SHARES, PER_PLAYER):
        games = [saturating(rate, noise, seed, asked.form) for seed in draws]
        cells = [_cell(scheme, games, times * PLAYERS) for scheme in SCHEMES]
        print(f"| {rate} | {noise:.0%} | {times}n | " + " | ".join(cells) + " |", flush=True)


def saturating(rate: float, noise_share: float, seed: int, form: str) -> KnownGame:
    """Return a game with noise of a share of its standard deviation over sizes and coalitions."""
    weights = np.random.default_rng(seed).gamma(2.0, size=PLAYERS)
    weights /= weights.sum()

    def game(coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        together = rate * (coalitions @ weights)
        return together / (1 + together) if form == "ratio" else 1 - np.exp(-together)

    values = _values(rate, weights)
    if form == "ratio":  # z / (1 + z) is the mean of 1 - exp(-u z), u drawn exponentially
        nodes, shares = np.polynomial.laguerre.laggauss(100)
        values = sum(s * _values(rate * u, weights) for u, s in zip(nodes, shares, strict=True))
    uniform = np.random.default_rng(1)
    some = uniform.random((2000, PLAYERS)) < uniform.random((2000, 1))
    return KnownGame(f"{form} c={rate}", game, values, noise_share * float(game(some).std()))


def _values(rate: float, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of 1 - exp(-rate w): the mean gain over the share of others already there.

    Source: Owen, "Multilinear extensions of games", 1972.
    """
    nodes, shares = np.polynomial.legendre.leggauss(200)
    there = (nodes[:, None] + 1) / 2
    left = 1 - there + there * np.exp(-rate * weights)
    others = left.prod(axis=1, keepdims=True) / left
    return shares / 2 @ (others * (1 - np.exp(-rate * weights)))


def _cell(scheme: str, games: list[KnownGame], budget: int) -> str:
    found = [estimate(scheme, game, budget, seed) for seed, game in enumerate(games)]
    errors = [outcome.error for outcome in found if outcome]
    inside = np.mean([outcome.inside for outcome in found if outcome])
    told = "unknown" if np.isnan(inside) else f"{inside:.0%}"
    return f"{np.exp(np.log(errors).mean()):.2g}, {told}"


if __name__ == "__main__":
    main()
