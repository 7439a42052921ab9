"""What it helps to let credits lean towards how many examples everybody brought.

    python benchmarks/estimators/leaning.py [--draws 4]

Toy games of 200 contributors, as in compare.py, with noise of 10 % that is measured; but a weight
is a number of examples, log-normal, times another log-normal factor, whose standard deviation says
how little weights go with examples. Prints squared errors over that of an equal split (medians) and
the share of exact values in the intervals: without leaning, towards the numbers of examples, and
towards the same numbers dealt at random, which tell nothing.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
from games import KnownGame, Toy
from numpy.typing import NDArray
from schemes import option

PLAYERS, NOISE_SHARE = 200, 0.1
SPREADS = (0.2, 0.5, 1.0)
PER_PLAYER = (0.5, 1, 2, 3, 5)
WEIGHT = 2.0
"""Mean of the weights, as in the toy games of compare.py."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=4, help="of games and coalitions")
    asked = parser.parse_args()
    towards = ("nothing", "examples", "random numbers")
    print("| spread | correlation | coalitions |", " | ".join(towards), "|")
    print("| ---: | ---: | ---: |" + " ---: |" * len(towards))
    for spread, times in product(SPREADS, PER_PLAYER):
        drawn = [(seed, *game(spread, seed)) for seed in range(asked.draws)]
        correlation = np.mean([np.corrcoef(known.values, n)[0, 1] for _, known, n in drawn])
        found = np.array([list(_outcomes(*one, int(times * PLAYERS))) for one in drawn])
        cells = [
            f"{np.median(errors):.2g}, {np.mean(inside):.0%}"
            for errors, inside in found.transpose(1, 2, 0)
        ]
        print(f"| {spread} | {correlation:.2f} | {times:g}n |", " | ".join(cells), "|", flush=True)


def game(spread: float, seed: int) -> tuple[KnownGame, NDArray[np.int64]]:
    """Return a game, and how many examples everybody brought, (n,)."""
    rng = np.random.default_rng([seed, 1])
    examples = np.ceil(20 * rng.lognormal(0, 0.8, PLAYERS)).astype(np.int64)
    weights = WEIGHT * examples / examples.mean() * rng.lognormal(0, spread, PLAYERS)
    toy = replace(Toy.drawn(PLAYERS, seed), weights=weights)
    some = np.random.default_rng(1).random((2000, PLAYERS)) < 0.5
    noise = NOISE_SHARE * float(toy(some).std())
    return KnownGame("toy", toy, toy.values, noise), examples


def _outcomes(
    seed: int, known: KnownGame, examples: NDArray[np.int64], budget: int
) -> Iterator[tuple[float, float]]:
    """Yield the error and the share inside, without leaning, with it, and towards nothing real."""
    coalitions = option("design", "paired_uniform", budget, seed, []).sample(PLAYERS)
    sample = replace(known.play(coalitions, seed), examples=examples)
    mixed = replace(sample, examples=np.random.default_rng(seed).permutation(examples))
    unleaning = option("estimator", "bayesian", budget, seed, [])
    leaning = replace(unleaning, towards="examples")
    for estimator, shown in ((unleaning, sample), (leaning, sample), (leaning, mixed)):
        found = estimator(shown)
        inside = (found.ci_low <= known.values) & (known.values <= found.ci_high)
        yield known.error(found.credits), float(inside.mean())


if __name__ == "__main__":
    main()
