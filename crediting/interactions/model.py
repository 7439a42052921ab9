r"""A Bayesian model of a game's pairwise terms, for interactions: prior and posterior.

With signs x_i = 1 for members and -1 for others, the sum of a pair of complementary coalitions is

    y(S) = v(S) + v(N \ S) = g(t) + sum_{i<j} c_ij x_i x_j + e(S),   t = mean x.

The size effect g is any polynomial of order 2 in t^2, the coefficients are a priori independent and
normal, and so are the rests e, which are what makes the game more than pairwise; those of nearly
empty and full coalitions may be the larger ones. How much larger, and how strong coefficients are
against rests, is what explains the sums best.

An interaction weighs sums, I_ij = sum over pairs of w_ij(S) y(S). That of the grand pair is known.
Rests are part of the game: those of evaluated pairs enter with their weight, so that the error
shrinks to nothing as the pairs become complete.
"""

from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, null_space, solve_triangular

Floats = NDArray[np.float64]

SIGNALS = np.geomspace(1e-3, 300, 23)
"""Variance of all pairwise terms of a sum together, against that of its rest.

As many pairs as coefficients can be interpolated; a larger ratio would take that for certainty.
"""
STEEPNESSES = range(7)
"""Powers of n^2 / (4 s (n - s)), s the size, by which the variance of rests may grow."""
SIZE_POWERS = np.array([0, 2, 4])
RANK_TOLERANCE = 1e-10
"""Few sizes tell few size effects apart: such as are smaller than this are not there."""
LEARNING_PAIRS = 600
"""The prior is learned from at most so many; more would hardly change it, but take long."""


class PairSums(NamedTuple):
    """Signs (p, n) of one half of each proper pair, its sum of utilities (p,), the grand pair's."""

    signs: Floats
    sums: Floats
    grand: float


class Prior(NamedTuple):
    """What a sum consists of: see SIGNALS and STEEPNESSES; `scale` is the variance of a rest."""

    signal: float
    steepness: int
    scale: float


def likeliest_prior(pairs: PairSums) -> Prior:
    """Return the prior of greatest likelihood, that of contrasts without size effects."""
    n = pairs.signs.shape[1]
    some = slice(None, None, -(-len(pairs.sums) // LEARNING_PAIRS))
    signs = pairs.signs[some]
    contrasts = null_space(_size_effects(signs).T)
    seen, kernel = contrasts.T @ pairs.sums[some], contrasts.T @ _kernel(signs) @ contrasts
    best, greatest = Prior(1.0, 0, 0.0), -np.inf
    for steepness in STEEPNESSES:
        rests = _rest_variances(n, steepness)[_sizes(signs)]
        noise = contrasts.T @ (rests[:, None] * contrasts)
        values, vectors = eigh(kernel, noise)
        squares = (seen @ vectors) ** 2
        volume = np.linalg.slogdet(noise)[1]
        for signal in SIGNALS:
            stretched = 1 + signal * np.clip(values, 0, None)
            scale = max(float(np.mean(squares / stretched)), np.finfo(float).tiny)
            likelihood = -(np.log(scale * stretched).sum() + volume) / 2
            if likelihood > greatest:
                best, greatest = Prior(float(signal), steepness, scale), likelihood
    return best


def posterior(pairs: PairSums, prior: Prior, noise: float) -> tuple[Floats, Floats]:
    """Return interactions and their standard errors, (n, n) with NaN on the diagonal.

    Of the variance of rests, `noise` is no part of the game.
    """
    n = pairs.signs.shape[1]
    rests = _rest_variances(n, prior.steepness)
    of_game = np.clip(rests - noise / prior.scale, 0, None)
    covariance = prior.signal * _kernel(pairs.signs) + np.diag(rests[_sizes(pairs.signs)])
    root = cholesky(covariance, lower=True)
    seen = solve_triangular(root, pairs.sums, lower=True)
    sizes = solve_triangular(root, _size_effects(pairs.signs), lower=True)
    fit = np.linalg.pinv(sizes, rcond=RANK_TOLERANCE)
    before = _prior_variance(n, prior.signal, of_game)
    values, errors = np.full((n, n), np.nan), np.full((n, n), np.nan)
    for player in range(n - 1):
        cross = _covariances(pairs.signs, player, prior.signal, of_game)
        asked = solve_triangular(root, cross, lower=True, check_finite=False)
        unseen = (_size_parts(n) - asked.T @ sizes) @ fit
        variances = before - (asked**2).sum(axis=0) + (unseen**2).sum(axis=1)
        later = slice(player + 1, None)
        values[player, later] = pairs.grand / (n - 1) + (asked.T + unseen) @ seen
        errors[player, later] = np.sqrt(
            prior.scale * np.clip(variances, 0, None) + noise / (n - 1) ** 2
        )
    below = np.tril_indices(n, -1)
    values[below], errors[below] = values.T[below], errors.T[below]
    return values, errors


def interaction_weights(n_players: int) -> Floats:
    """Return the weights (n - 1,) of coalitions of s = 0 ... n - 2 others in an interaction."""
    n = n_players
    return np.array([1 / ((n - 1) * comb(n - 2, s)) for s in range(n - 1)])


def _sizes(signs: Floats) -> NDArray[np.intp]:
    return (signs > 0).sum(axis=1)


def _size_effects(signs: Floats) -> Floats:
    """Return the size covariates 1, t^2 and t^4, (p, 3)."""
    return signs.mean(axis=1, keepdims=True) ** SIZE_POWERS


def _kernel(signs: Floats) -> Floats:
    """Return the covariance (p, p) of the pairwise terms of sums, one on the diagonal.

    Products over all pairs of signs add up to (q^2 - n) / 2, q the inner product of the rows.
    """
    n = signs.shape[1]
    return ((signs @ signs.T) ** 2 - n) / (n * (n - 1))


def _rest_variances(n_players: int, steepness: int) -> Floats:
    """Return the variances (n + 1,) of rests by size; the ends are known and have none."""
    sizes = np.arange(1, n_players)
    proper = (n_players**2 / (4 * sizes * (n_players - sizes))) ** steepness
    return np.concatenate([[0.0], proper, [0.0]])


def _covariances(signs: Floats, player: int, signal: float, of_game: Floats) -> Floats:
    """Return those of sums (p,) with the interactions of a player and k later ones, (p, k).

    Over all pairs a coefficient adds 2 c_ij to I_ij; its part in the grand pair does not count.
    """
    n, total = signs.shape[1], signs.sum(axis=1, keepdims=True)
    mine, others = signs[:, [player]], signs[:, player + 1 :]
    pairwise = (2 * mine * others - (total**2 - n) / (2 * (n - 1))) / comb(n, 2)
    sizes = _sizes(signs)
    padded = np.concatenate([[0.0], interaction_weights(n), [0.0]])
    both, one, neither = (padded[sizes + shift][:, None] for shift in (-1, 0, 1))
    weights = np.where(mine != others, -one, np.where(mine > 0, both, neither))
    return signal * pairwise + weights * of_game[sizes][:, None]


def _size_parts(n_players: int) -> Floats:
    """Return what each size covariate of proper coalitions adds to an interaction, (3,).

    All but the singles' cancels.
    """
    return -((1 - 2 / n_players) ** SIZE_POWERS) / (n_players - 1)


def _prior_variance(n_players: int, signal: float, of_game: Floats) -> float:
    """Return the variance of an interaction before any sum but the grand pair's is seen."""
    n = n_players
    pairwise = (4 - 4 / (n - 1)) / comb(n, 2) + 1 / (n - 1) ** 2
    corners = of_game[2:] + 2 * of_game[1:-1] + of_game[:-2]
    return signal * pairwise + float(interaction_weights(n) @ corners) / (2 * (n - 1))
