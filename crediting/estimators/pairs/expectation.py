r"""What the differences of complementary coalitions are expected to be, before they are seen.

With signs x_i = 1 for members and -1 for others, the difference of a pair is an odd function of x,

    d(S) = sum_i b_i x_i + sum_{i<j<k} b_ijk x_i x_j x_k + ...,

and a Shapley value is phi_i = b_i + (1/3) sum_{jk} b_ijk + .... Coefficients of first and third
order are a priori independent and normal, but those of first order may lean towards given numbers,
and change with even powers of the coalition's relative size t = mean x: the higher the power, the
sooner do coalitions grow so large that one more member adds little. The grand pair is known
exactly, d(N) = v(N) - v(empty). Utilities also depend on how large a coalition is, and they jump
at the ends: a model of nobody's data is unlike any other. Covariates t and t^3, for proper
coalitions only, take that up; being the same for everybody and absent from the grand pair, they
leave every Shapley value as it is. Whatever is left varies more for very small and very large
coalitions, with the variance (n^2 / (4 s (n - s)))^a.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from crediting.estimators.pairs.differences import Pairs

Floats = NDArray[np.float64]

RANK_TOLERANCE = 1e-12
"""Eigenvalues below this share of the largest are zeros blurred by rounding."""
ENTRIES_AT_ONCE = 2**24
"""Of a matrix that is not kept whole."""
SIZE_VARIANCE = 1e6
"""Of a size covariate, against a first-order coefficient: next to no prior."""


class Growth(NamedTuple):
    """What the size t of a coalition changes in a player's coefficient: one term per power of t.

    The terms are independent and have this variance each, against that of the coefficient.
    """

    variance: float
    powers: tuple[int, ...]


CONSTANT = Growth(0.0, ())
"""Of players that add as much to small coalitions as to large ones, but for triples."""


class Prior(NamedTuple):
    """One way of expecting differences; variances are those of first-order coefficients.

    `exponent` is the a of the remainders' variance, `share` the variance of all triples that a
    player is in, `leaning` (n,) sums to zero: credits may be this times anything of variance 1.
    """

    exponent: float
    share: float
    growth: Growth
    leaning: Floats


class Expected(NamedTuple):
    """What differences are expected to be, whatever their remainders; the grand pair is known.

    Their prior covariance is `root` root' with the columns of a matrix (p, k), or, where there are
    as many as pairs, `kernel` (p, p); the other one is None. `cross` (n, p) is the covariance of
    the credits with the differences, `prior` (n, n) their own, `variance` that of the grand pair;
    all in units of a first-order coefficient.
    """

    root: Floats | None
    kernel: Floats | None
    cross: Floats
    prior: Floats
    variance: float


class Decomposed(NamedTuple):
    """Prior covariance of the differences over their remainders' deviations, as eigenvectors.

    `values` (k,) are its eigenvalues; what is orthogonal to its eigenvectors (p, k) has no prior
    variance. These are never multiplied out, for there may be a hundred thousand pairs: they are
    the columns of `factor` (p, j) times `axes` (j, k), or of `axes` (p, k) where there is no
    factor. `deviations` (p,) are those of the remainders, 1 for equal halves.
    """

    values: Floats
    factor: Floats | None
    axes: Floats
    deviations: Floats

    def along(self, rows: Floats) -> Floats:
        """Return what rows (..., p) have of each eigenvector, (..., k)."""
        return (rows if self.factor is None else rows @ self.factor) @ self.axes

    def summed(self, parts: Floats) -> Floats:
        """Return the rows (..., p) that have these parts (..., k) of the eigenvectors."""
        rows = parts @ self.axes.T
        return rows if self.factor is None else rows @ self.factor.T

    def leverages(self, parts: Floats) -> Floats:
        """Return sums over eigenvectors of their squares times these parts (..., k), (p, ...)."""
        rows = self.axes if self.factor is None else self.factor
        blocks = np.array_split(rows, 1 + rows.size // ENTRIES_AT_ONCE)
        squares = ((b if self.factor is None else b @ self.axes) ** 2 for b in blocks)
        return np.concatenate([square @ parts.T for square in squares])


def remainder_variance(sizes: NDArray[np.int64], n_players: int, exponent: float) -> Floats:
    """Return (n^2 / (4 s (n - s)))^a for coalitions of s members; 1 for halves of equal size."""
    return (n_players**2 / (4 * sizes * (n_players - sizes))) ** exponent


def expected(pairs: Pairs, prior: Prior) -> Expected:
    """Return what a prior, but for its exponent, makes of pairs; third order takes (p, p)."""
    return _third_order(pairs, prior) if prior.share else _first_order(pairs, prior)


def decomposed(pairs: Pairs, model: Expected, exponent: float) -> Decomposed:
    """Return what is expected, seen against remainders whose variance has this exponent."""
    n = pairs.signs.shape[1]
    deviations = np.sqrt(remainder_variance(pairs.sizes, n, exponent))
    if model.root is not None:
        factor = model.root / deviations[:, None]
        values, axes = eigh(factor.T @ factor)
        seen = values > RANK_TOLERANCE * values[-1]
        values, axes = values[seen], axes[:, seen] / np.sqrt(values[seen])
        return Decomposed(values, factor, axes, deviations)
    values, vectors = eigh(model.kernel / np.outer(deviations, deviations))
    return Decomposed(np.clip(values, 0, None), None, vectors, deviations)


def _first_order(pairs: Pairs, prior: Prior) -> Expected:
    """Return what is expected without third order, whose cost grows with n instead of p."""
    n = pairs.signs.shape[1]
    features, to_credits = _linear(pairs, prior)
    terms = [1.0] + [prior.growth.variance] * len(prior.growth.powers)
    grand = np.repeat(np.sqrt(terms), n)
    features = features - np.outer(features @ grand, grand / (grand @ grand))
    to_credits = to_credits - np.outer(to_credits @ grand, grand / (grand @ grand))
    leant = pairs.signs @ prior.leaning
    root = np.column_stack([features, leant, math.sqrt(SIZE_VARIANCE) * _size_effects(pairs)])
    cross = to_credits @ features.T + np.outer(prior.leaning, leant)
    own = to_credits @ to_credits.T + np.outer(prior.leaning, prior.leaning)
    return Expected(root, None, cross, own, grand @ grand)


def _third_order(pairs: Pairs, prior: Prior) -> Expected:
    """Return what is expected with third order; there are n > 2 players.

    Products over all triples are an elementary symmetric polynomial of the product of two rows of
    signs, e3 = (q^3 - (3 n - 2) q) / 6 with q their inner product.
    """
    n = pairs.signs.shape[1]
    features, to_credits = _linear(pairs, prior)
    each = prior.share / math.comb(n - 1, 2)
    inner = pairs.signs @ pairs.signs.T
    leant = pairs.signs @ prior.leaning
    kernel = features @ features.T + each * (inner**3 - (3 * n - 2) * inner) / 6
    kernel += SIZE_VARIANCE * _size_effects(pairs) @ _size_effects(pairs).T
    others = pairs.signs.sum(axis=1, keepdims=True) - pairs.signs
    cross = to_credits @ features.T + (pairs.signs * (each * (others**2 - (n - 1)) / 6)).T
    own = to_credits @ to_credits.T + np.full((n, n), each * (n - 2) / 9)
    own += np.diag(np.full(n, prior.share / 9 - each * (n - 2) / 9))
    of_growth = prior.growth.variance * len(prior.growth.powers)
    variance = n * (1 + of_growth + prior.share / 3)
    grand = cross.sum(axis=0)  # the credits sum to what the grand pair is worth
    kernel += np.outer(leant, leant) - np.outer(grand, grand) / variance
    return Expected(
        None,
        kernel,
        cross - grand / n + np.outer(prior.leaning, leant),
        own - variance / n**2 + np.outer(prior.leaning, prior.leaning),
        variance,
    )


def _linear(pairs: Pairs, prior: Prior) -> tuple[Floats, Floats]:
    """Return features (p, k) whose coefficients have variance 1, and what credits make of them.

    These are x_i and, for every power of growth, x_i t^power; as a game the latter gives player i
    the mean of (t^power at s + 1 members + that at s) / 2 over s, and the others the rest of 1 in
    equal parts.
    """
    n = pairs.signs.shape[1]
    features, to_credits = [pairs.signs], [np.eye(n)]
    root = math.sqrt(prior.growth.variance)
    for power in prior.growth.powers:
        by_size = ((2 * np.arange(n + 1) - n) / n) ** power
        own = float((by_size[1:] + by_size[:-1]).mean() / 2)
        shares = np.full((n, n), (1 - own) / (n - 1))
        np.fill_diagonal(shares, own)
        features.append(root * pairs.signs * pairs.relative_sizes[:, None] ** power)
        to_credits.append(root * shares)
    return np.column_stack(features), np.column_stack(to_credits)


def left_by_size(pairs: Pairs) -> int:
    """Return how many differences the size covariates leave to be explained."""
    taken = int(np.linalg.matrix_rank(_size_effects(pairs)))
    return len(pairs.differences) - taken


def _size_effects(pairs: Pairs) -> Floats:
    """Return the size covariates t and t^3 of proper coalitions, (p, 2)."""
    size = pairs.relative_sizes
    return np.column_stack([size, size**3])
