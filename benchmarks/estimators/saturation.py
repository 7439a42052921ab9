"""How credits come out where a model is good already with a part of its contributors.

    python benchmarks/estimators/saturation.py

Games v(S) = 1 - exp(-c w(S)) of 50 contributors, whose weights are drawn and sum to 1, so that a
share of 1 / c of them brings the first 63 %. Exact values are an integral of products. Prints, per
game, budget and noise, the squared error of every scheme over that of an equal split, and the share
of the values in its intervals (half an hour).
"""

import argparse

import numpy as np
from games import KnownGame
from numpy.typing import NDArray
from schemes import ADJUSTED, AUTO, DEFAULT, PAPER, estimate

from crediting.game.coalition import CoalitionMatrix

PLAYERS, RATES, PER_PLAYER, NOISE_SHARES = 50, (8, 20, 50), (5, 20, 80), (0.0, 0.1)
SCHEMES = (DEFAULT, ADJUSTED, AUTO, PAPER)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3, help="of weights and coalitions")
    draws = range(parser.parse_args().draws)
    print("| c | noise | coalitions | " + " | ".join(f"{s}: error, inside" for s in SCHEMES) + " |")
    print("| ---: | ---: | ---: |" + " ---: |" * len(SCHEMES))
    for rate in RATES:
        for noise in NOISE_SHARES:
            for times in PER_PLAYER:
                cells = [_cell(scheme, rate, noise, times * PLAYERS, draws) for scheme in SCHEMES]
                print(
                    f"| {rate} | {noise:.0%} | {times}n | " + " | ".join(cells) + " |", flush=True
                )


def saturating(rate: float, noise_share: float, seed: int) -> KnownGame:
    """Return a game with noise of a share of its standard deviation over sizes and coalitions."""
    weights = np.random.default_rng(seed).gamma(2.0, size=PLAYERS)
    weights /= weights.sum()

    def game(coalitions: CoalitionMatrix) -> NDArray[np.float64]:
        return 1 - np.exp(-rate * (coalitions @ weights))

    uniform = np.random.default_rng(1)
    some = uniform.random((2000, PLAYERS)) < uniform.random((2000, 1))
    return KnownGame(
        f"saturation c={rate}", game, _values(rate, weights), noise_share * float(game(some).std())
    )


def _values(rate: float, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Shapley values: the mean gain over the share q of others that are there already.

    Source: Owen, "Multilinear extensions of games", 1972.
    """
    nodes, shares = np.polynomial.legendre.leggauss(200)
    there = (nodes[:, None] + 1) / 2
    left = 1 - there + there * np.exp(-rate * weights)
    others = left.prod(axis=1, keepdims=True) / left
    return shares / 2 @ (others * (1 - np.exp(-rate * weights)))


def _cell(scheme: str, rate: float, noise: float, budget: int, draws: range) -> str:
    found = [estimate(scheme, saturating(rate, noise, seed), budget, seed) for seed in draws]
    errors = [outcome.error for outcome in found if outcome]
    inside = np.mean([outcome.inside for outcome in found if outcome])
    return f"{np.exp(np.log(errors).mean()):.2g}, {inside:.0%}"


if __name__ == "__main__":
    main()
