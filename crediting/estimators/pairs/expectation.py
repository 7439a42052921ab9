r"""What the differences of complementary coalitions are expected to be, before they are seen.

With signs x_i = 1 for members and -1 for others, the difference of a pair is an odd function of x,

    d(S) = sum_i b_i x_i + sum_{i<j<k} b_ijk x_i x_j x_k + ...,

and a Shapley value is phi_i = b_i + (1/3) sum_{jk} b_ijk + .... Coefficients of first and third
order are a priori independent and normal, but those of first order may lean towards given numbers,
and change with even powers of the coalition's relative size t = mean x: the higher the power, the
sooner do coalitions grow so large that one more member adds little. The grand pair is known
exactly, d(N) = v(N) - v(empty). Utilities also depend on how large a coalition is, and they jump
at the ends: a model of nobody's data is unlike any other. Two covariates of the size, such as t and
t^3, for proper coalitions only, take up whatever they can of that; being the same for everybody and
absent from the grand pair, they leave every Shapley value as it is. Whatever is left varies more
for very small and very large coalitions. How, is told in `pairs.growth`.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.estimators.pairs.differences import Pairs
from crediting.estimators.pairs.growth import CONSTANT, Growth, Remainder

Floats = NDArray[np.float64]

RANK_TOLERANCE = 1e-12
"""Eigenvalues below this share of the largest are zeros blurred by rounding."""


class Prior(NamedTuple):
    """One way of expecting differences; variances are those of first-order coefficients.

    `share` is the variance of all triples that a player is in; `leaning` (n,) sums to zero:
    coefficients may be this times anything of variance 1.
    """

    remainder: Remainder
    share: float
    growth: Growth
    leaning: Floats


class Expected(NamedTuple):
    """What differences are expected to be, whatever their remainders; the grand pair is known.

    Their prior covariance is `root` root' with the columns of a matrix (p, k), or, where there are
    as many as pairs, `kernel` (p, p); the other one is None. On top of that comes anything that is
    a sum of `size_effects`, orthonormal (p, r). `cross` (n, p) is the covariance of the credits
    with the differences, `prior` (n, n) their own, `variance` that of the grand pair; all in units
    of a first-order coefficient.
    """

    root: Floats | None
    kernel: Floats | None
    size_effects: Floats
    cross: Floats
    prior: Floats
    variance: float


class Decomposed(NamedTuple):
    """Prior covariance of the differences over their remainders' deviations, as eigenvectors.

    Size effects have been taken out; an orthonormal basis of them is `by_size` (p, r), and
    `log_volume` the logarithm of what dividing by the deviations makes of their volume. `values`
    (k,) are the eigenvalues of what remains; what is orthogonal to its eigenvectors (p, k) has no
    prior variance. These are never multiplied out, for there may be a hundred thousand pairs: they
    are the columns of `factor` (p, j), size effects taken out, times `axes` (j, k), or of `axes`
    (p, k) where there is no factor. `deviations` (p,) are those of the remainders, 1 for equal
    halves.
    """

    values: Floats
    factor: Floats | None
    axes: Floats
    deviations: Floats
    by_size: Floats
    log_volume: float

    def without_size(self, rows: Floats) -> Floats:
        """Return rows (..., p), in units of deviations, less any size effects; changes them."""
        return _without(self.by_size, rows.T).T

    def along(self, rows: Floats) -> Floats:
        """Return what rows (..., p) without size effects have of each eigenvector, (..., k)."""
        return (rows if self.factor is None else rows @ self.factor) @ self.axes

    def summed(self, parts: Floats) -> Floats:
        """Return the rows (..., p) that have these parts (..., k) of the eigenvectors."""
        rows = parts @ self.axes.T
        return rows if self.factor is None else self.without_size(rows @ self.factor.T)


def expected(pairs: Pairs, prior: Prior) -> Expected:
    """Return what a prior, but for its remainder, makes of pairs; third order takes (p, p)."""
    return _third_order(pairs, prior) if prior.share else _first_order(pairs, prior)


def decomposed(pairs: Pairs, model: Expected, remainder: Remainder) -> Decomposed:
    """Return what is expected, seen against remainders of this kind."""
    deviations = np.sqrt(remainder.variance(pairs.sizes, pairs.signs.shape[1]))
    by_size, triangle = np.linalg.qr(model.size_effects / deviations[:, None])
    log_volume = float(np.log(abs(np.diag(triangle))).sum())
    factor = None
    if model.root is not None:
        factor = model.root / deviations[:, None]
        sizes = by_size.T @ factor
        values, axes = np.linalg.eigh(factor.T @ factor - sizes.T @ sizes)
    else:
        half = _without(by_size, model.kernel / np.outer(deviations, deviations))
        values, axes = np.linalg.eigh(_without(by_size, half.T))
    seen = values > RANK_TOLERANCE * values[-1]
    values, axes = values[seen], axes[:, seen]
    if factor is not None:
        axes = axes / np.sqrt(values)
    return Decomposed(values, factor, axes, deviations, by_size, log_volume)


def _without(basis: Floats, columns: Floats) -> Floats:
    """Return columns (p, ...) less what an orthonormal basis (p, r) has of them, in their place."""
    columns -= basis @ (basis.T @ columns)
    return columns


def _first_order(pairs: Pairs, prior: Prior) -> Expected:
    """Return what is expected without third order, whose cost grows with n instead of p."""
    n = pairs.signs.shape[1]
    features, to_credits = _linear(pairs, prior)
    leant, leaning = features[:, :n] @ prior.leaning, to_credits[:, :n] @ prior.leaning
    grand = np.repeat(np.sqrt(prior.growth.variances), n)
    features = features - np.outer(features @ grand, grand / (grand @ grand))
    to_credits = to_credits - np.outer(to_credits @ grand, grand / (grand @ grand))
    cross = to_credits @ features.T + np.outer(leaning, leant)
    own = to_credits @ to_credits.T + np.outer(leaning, leaning)
    effects = prior.growth.size_effects(pairs.relative_sizes)
    root = np.column_stack([features, leant])
    return Expected(root, None, effects, cross, own, grand @ grand)


def _third_order(pairs: Pairs, prior: Prior) -> Expected:
    """Return what is expected with third order; there are n > 2 players.

    Products over all triples are an elementary symmetric polynomial of the product of two rows of
    signs, e3 = (q^3 - (3 n - 2) q) / 6 with q their inner product.
    """
    n = pairs.signs.shape[1]
    features, to_credits = _linear(pairs, prior)
    each = prior.share / math.comb(n - 1, 2)
    inner = pairs.signs @ pairs.signs.T
    leant, leaning = features[:, :n] @ prior.leaning, to_credits[:, :n] @ prior.leaning
    kernel = features @ features.T + each * (inner**3 - (3 * n - 2) * inner) / 6
    others = pairs.signs.sum(axis=1, keepdims=True) - pairs.signs
    cross = to_credits @ features.T + (pairs.signs * (each * (others**2 - (n - 1)) / 6)).T
    own = to_credits @ to_credits.T + np.full((n, n), each * (n - 2) / 9)
    own += np.diag(np.full(n, prior.share / 9 - each * (n - 2) / 9))
    variance = n * (sum(prior.growth.variances) + prior.share / 3)
    grand = cross.sum(axis=0)  # the credits sum to what the grand pair is worth
    kernel += np.outer(leant, leant) - np.outer(grand, grand) / variance
    return Expected(
        None,
        kernel,
        prior.growth.size_effects(pairs.relative_sizes),
        cross - grand / n + np.outer(leaning, leant),
        own - variance / n**2 + np.outer(leaning, leaning),
        variance,
    )


def _linear(pairs: Pairs, prior: Prior) -> tuple[Floats, Floats]:
    """Return features (p, k) whose coefficients have variance 1, and what credits make of them.

    These are x_i g(t) for every term g of growth; as a game this gives player i the mean of
    (g at s + 1 members + g at s) / 2 over s, and the others the rest of g(1) = 1 in equal parts.
    """
    n = pairs.signs.shape[1]
    growth, sizes = prior.growth, (2 * np.arange(n + 1) - n) / n
    terms = zip(
        growth.variances, growth.terms(pairs.relative_sizes), growth.terms(sizes), strict=True
    )
    features, to_credits = [], []
    for variance, seen, by_size in terms:
        own = float((by_size[1:] + by_size[:-1]).mean() / 2)
        shares = np.full((n, n), (1 - own) / max(n - 1, 1))
        np.fill_diagonal(shares, own)
        features.append(math.sqrt(variance) * pairs.signs * seen[:, None])
        to_credits.append(math.sqrt(variance) * shares)
    return np.column_stack(features), np.column_stack(to_credits)


def left_by_size(pairs: Pairs) -> int:
    """Return how many differences the size covariates leave to be explained."""
    return len(pairs.differences) - CONSTANT.size_effects(pairs.relative_sizes).shape[1]
