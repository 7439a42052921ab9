"""What the drawing designs share: uniform subsets, their probabilities, and no coalition twice.

Blocks of a fixed size come from one generator until a budget is met, so that a smaller budget is a
prefix of a larger one and reuses its evaluations.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError
from crediting.game.coalition import Coalition, CoalitionMatrix

Floats = NDArray[np.float64]

# Rows per call of the generator: enough to be fast, few enough to waste little. It is part of what
# a seed means.
BLOCK = 64

_SURELY_ALL = 700.0
"""Logarithm of so many draws that no coalition of any probability in double precision is missed."""


def check_budget(budget: int) -> None:
    """Raise ConfigError if a budget has no coalition."""
    if budget < 1:
        raise ConfigError(
            f"design.budget: expected at least 1 coalition, got {budget}; "
            "some ten coalitions per contributor are a good start."
        )


def log_probabilities(coalitions: CoalitionMatrix, law: Floats) -> Floats:
    """Return log P(S) = log P(s) - log C(n, s) of proper coalitions (m, n), (m,).

    `law` (n - 1,) is P(s) for the sizes s = 1..n-1; coalitions of a size are equally likely.
    """
    return _log_probability_by_size(law)[coalitions.sum(axis=1) - 1]


def log_shares(coalitions: CoalitionMatrix) -> Floats:
    """Return `log_probabilities` (m,) where the place of a row decides how large it is.

    The sizes then are as frequent as in these coalitions (m, n), whatever is drawn.
    """
    n_rows, n_players = coalitions.shape
    law = np.bincount(coalitions.sum(axis=1), minlength=n_players)[1:] / n_rows
    return log_probabilities(coalitions, law)


def log_inclusion(coalitions: CoalitionMatrix, law: Floats) -> Floats:
    """Return the log-probability (m,) of each to be among m distinct proper coalitions, in pairs.

    Pairs of complements are drawn by a law as in `log_probabilities` until enough distinct ones
    are there. That takes some number T of draws; a pair of probability p is then among them with
    1 - exp(-T p), and T is what makes these add up to the number of pairs.
    """
    pairs, log_law = len(coalitions) / 2, _log_probability_by_size(law) + math.log(2)

    def found(log_draws: float) -> float:
        return float((np.exp(log_draws) * law * _thinned(log_draws + log_law)).sum())

    low, high = math.log(pairs), math.log(pairs) + 1
    while found(high) < pairs and high < _SURELY_ALL:
        high += 1
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) < pairs else (low, middle)
    log_expected = high + log_law
    by_size = log_expected + np.log(_thinned(log_expected))
    return by_size[coalitions.sum(axis=1) - 1]


def _thinned(log_expected: Floats) -> Floats:
    """Return (1 - exp(-x)) / x, the share of x expected draws that are not repeats."""
    expected = np.exp(log_expected)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, -np.expm1(-expected) / expected, 1.0)


def _log_probability_by_size(law: Floats) -> Floats:
    n_players = len(law) + 1
    with np.errstate(divide="ignore"):
        return np.log(law) - [log_binomial(n_players, size) for size in range(1, n_players)]


def log_binomial(n: int, k: int) -> float:
    """Return log C(n, k), also where C(n, k) is beyond the largest float."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def subsets_by_law(generator: np.random.Generator, law: Floats) -> Iterator[CoalitionMatrix]:
    """Yield blocks (BLOCK, n) for ever: a size by its law, then a uniform set of that size."""
    while True:
        sizes = 1 + generator.choice(len(law), size=BLOCK, p=law)
        yield _uniform_subsets(generator, sizes, len(law) + 1)


def subsets_of_size(
    generator: np.random.Generator, size: int, n_players: int
) -> Iterator[CoalitionMatrix]:
    """Yield blocks (BLOCK, n) of uniform sets of one size for ever."""
    while True:
        yield _uniform_subsets(generator, np.full(BLOCK, size), n_players)


def _uniform_subsets(
    generator: np.random.Generator, sizes: NDArray[np.int64], n_players: int
) -> CoalitionMatrix:
    return generator.permuted(np.arange(n_players) < sizes[:, None], axis=1)


def without_repeats(blocks: Iterable[CoalitionMatrix], paired: bool) -> Iterator[Coalition]:
    """Yield the coalitions that were not there before; if paired, nor was their complement."""
    seen = set()
    for block in blocks:
        # Of a coalition and its complement, the one with player 0 stands for both.
        standing = block ^ ~block[:, :1] if paired else block
        for coalition, bits in zip(block, np.packbits(standing, axis=1), strict=True):
            key = bits.tobytes()
            if key not in seen:
                seen.add(key)
                yield coalition


def with_complements(halves: Iterable[Coalition]) -> Iterator[Coalition]:
    """Yield each coalition and, right after it, its complement."""
    for half in halves:
        yield half
        yield ~half


def first(coalitions: Iterable[Coalition], budget: int, existing: int) -> CoalitionMatrix:
    """Return the first `budget` coalitions (m, n), or all that exist if these are fewer."""
    return np.stack(list(islice(coalitions, min(budget, existing))))
