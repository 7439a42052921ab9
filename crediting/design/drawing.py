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


def check_budget(budget: int) -> None:
    """Raise ConfigError if a budget has no coalition."""
    if budget < 1:
        raise ConfigError(
            f"design.budget: expected at least 1 coalition, got {budget}; "
            "some ten coalitions per contributor are a good start."
        )


def uniform_size_law(n_players: int) -> Floats:
    """Return P(s) = 1/(n-1) for the coalition sizes s = 1..n-1, (n - 1,)."""
    return np.full(n_players - 1, 1 / (n_players - 1))


def log_probabilities(coalitions: CoalitionMatrix, law: Floats) -> Floats:
    """Return log P(S) = log P(s) - log C(n, s) of proper coalitions (m, n), (m,).

    `law` (n - 1,) is P(s) for the sizes s = 1..n-1; coalitions of a size are equally likely.
    """
    n_players = len(law) + 1
    by_size = np.log(law) - [log_binomial(n_players, size) for size in range(1, n_players)]
    return by_size[coalitions.sum(axis=1) - 1]


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
