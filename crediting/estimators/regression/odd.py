r"""Ridge regression for the odd part of a game, the only one that Shapley values depend on.

An observation is the difference v(S) - v(N \ S) of a pair of complements or, where a coalition has
no complement among those evaluated, twice what its utility lies above the middle of v(N) and
v(empty). With signs x_i = 1 for members and -1 for others both estimate sum_i phi_i x_i in an
additive game; a lone one with all that is even in x on top of it. As in the Bayesian estimator,
covariates of the coalition's size, the same for everybody, are absent from the grand pair and so
leave credits as they are. The smallest and largest coalitions vary most and weigh least.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.game.game import EvaluatedSample
from crediting.game.rows import distinct_rows

Floats = NDArray[np.float64]

PENALTIES = (*np.geomspace(1e3, 1e-4, 15), 0.0)
"""Of the sum of squared credits, each less its equal share, in units of an observation's weight."""
RANK_TOLERANCE = 1e-7
"""Singular values below this share of the largest are zeros blurred by rounding."""
INTERPOLATED = 1e-6
"""An observation that leaves less than this of itself to others cannot be predicted from them."""

EQUAL_ERRORS = 1e-9
"""Errors that are no further apart than this share of the least differ by rounding only."""

LARGE_FOLD = 1000
"""Rows beyond which a fold is left out by way of the fewer directions that they span."""


class Observations(NamedTuple):
    """Signs (u, n), what was observed less an equal split of the total (u,), which are lone (u,).

    `total` is v(N) - v(empty).
    """

    signs: Floats
    targets: Floats
    lone: NDArray[np.bool_]
    total: float

    @property
    def relative_sizes(self) -> Floats:
        """The mean of the signs, (u,): -1 for nobody, 1 for everybody."""
        return self.signs.mean(axis=1)

    @property
    def weights(self) -> Floats:
        """4 s (n - s) / n^2, (u,): inverse variances up to a factor; lone ones count half."""
        return (1 - self.relative_sizes**2) * np.where(self.lone, 0.5, 1.0)


def observe(sample: EvaluatedSample, estimator: str) -> Observations:
    """Return the observations that the proper coalitions of a sample make, in canonical order.

    Raises:
        LedgerError: there is no proper coalition; the message names the estimator that asked.
    """
    rows = distinct_rows(sample, only_proper=True)
    if not len(rows.coalitions):
        raise LedgerError(
            f"estimator={estimator} needs coalitions between the empty and the grand one, got none "
            f"among {len(sample)}; evaluate some with design=paired_uniform."
        )
    lone = rows.partners < 0
    middle = (sample.v_empty + sample.v_full) / 2
    observed = np.where(
        lone, 2 * (rows.utilities - middle), rows.utilities - rows.of_partner(rows.utilities)
    )
    once = np.flatnonzero(lone | rows.coalitions[:, 0])
    once = once[np.lexsort(rows.coalitions[once].T)]
    signs = np.where(rows.coalitions[once], 1.0, -1.0)
    total = sample.v_full - sample.v_empty
    return Observations(signs, observed[once] - total * signs.mean(axis=1), lone[once], total)


class Ridge(NamedTuple):
    """A regression of observations, decomposed; rows are weighted by `roots` (u,).

    `basis` (u, k) spans the size covariates, `left` (u, r), `scales` (r,) and `right` (n, r) are
    the singular value decomposition of what they leave of the signs less their mean.
    """

    roots: Floats
    basis: Floats
    left: Floats
    scales: Floats
    right: Floats

    def kept(self, penalty: float) -> Floats:
        """Return what the penalty leaves of each direction, (r,)."""
        return self.scales**2 / (self.scales**2 + penalty)

    def credit_weights(self, penalty: float) -> Floats:
        """Return what targets add to credits less their equal share, (n, u)."""
        return (self.right * (self.kept(penalty) / self.scales)) @ (
            self.left * self.roots[:, None]
        ).T

    def smooth(self, penalty: float, weighted: Floats) -> Floats:
        """Return the fit to targets, (u,), both times the roots of the weights."""
        kept = self.kept(penalty)
        return self.basis @ (self.basis.T @ weighted) + self.left @ (
            kept * (self.left.T @ weighted)
        )

    def leverages(self, penalty: float) -> Floats:
        """Return how far each observation determines its own fit, (u,)."""
        return (self.basis**2).sum(axis=1) + self.left**2 @ self.kept(penalty)

    def left_out(self, penalty: float, targets: Floats) -> Floats:
        """Return residuals (u,) times the roots of the weights, each from the others' fit.

        They are NaN where the others do not tell.
        """
        weighted = self.roots * targets
        free = 1 - self.leverages(penalty)
        free[free < INTERPOLATED] = np.nan
        return (weighted - self.smooth(penalty, weighted)) / free

    def without(self, penalty: float, targets: Floats, fold: NDArray[np.bool_]) -> Floats:
        """Return the residuals (u,) of all observations from the fit without those of a fold.

        By leaving out they are r + H_f (I - H_ff)^-1 r_f, with H the smoother and r = y - H y.
        """
        weighted = self.roots * targets
        residuals = weighted - self.smooth(penalty, weighted)
        across = np.hstack([self.basis, self.left * np.sqrt(self.kept(penalty))])
        lifted = _lifted(across[fold], residuals[fold])
        return (residuals + across @ (across[fold].T @ lifted)) / self.roots


def _lifted(across: Floats, residuals: Floats) -> Floats:
    """Return (I - A A^T)^-1 r for rows A (f, k) of a smoother's root and residuals r (f,).

    Of what only the fold itself tells, nothing is left: such scales are 0 but for rounding.
    """
    n_rows, n_columns = across.shape
    if n_rows <= max(n_columns, LARGE_FOLD):
        scales, axes = np.linalg.eigh(np.eye(n_rows) - across @ across.T)
        return axes @ (axes.T @ residuals / (np.maximum(scales, 0) + INTERPOLATED**2))
    # Off the span of A nothing changes, and that has but k dimensions.
    squares, axes = np.linalg.eigh(across.T @ across)
    seen = squares > RANK_TOLERANCE**2 * squares[-1]
    span = across @ (axes[:, seen] / np.sqrt(squares[seen]))
    free = np.maximum(1 - squares[seen], 0) + INTERPOLATED**2
    return residuals + span @ ((1 / free - 1) * (span.T @ residuals))


def decompose(data: Observations) -> Ridge:
    """Return the regression of observations."""
    roots = np.sqrt(data.weights)
    basis, _, _ = _svd(roots[:, None] * _size_covariates(data))
    signs = roots[:, None] * (data.signs - data.relative_sizes[:, None])
    left, scales, right = _svd(signs - basis @ (basis.T @ signs))
    return Ridge(roots, basis, left, scales, right)


def best_penalty(ridge: Ridge, targets: Floats) -> float:
    """Return the member of PENALTIES with the least squared error of observations left out.

    Of penalties that do equally well it is the largest; all do where `tells_penalties` denies it.
    """
    errors = _squared_errors(ridge, targets)
    return PENALTIES[int(np.argmax(errors <= (1 + EQUAL_ERRORS) * errors.min()))]


def tells_penalties(ridge: Ridge, targets: Floats) -> bool:
    """Whether any of PENALTIES predicts observations left out better than another.

    No single contributor tells of another, so none does where there are hardly other coalitions.
    """
    errors = _squared_errors(ridge, targets)
    errors = errors[np.isfinite(errors)]
    return bool(errors.max() > (1 + EQUAL_ERRORS) * errors.min())


def _squared_errors(ridge: Ridge, targets: Floats) -> Floats:
    """Return the error of each of PENALTIES, infinite where it cannot be told.

    Observations that only they themselves can tell of, however large the penalty, do not count.
    """
    errors = np.array([ridge.left_out(penalty, targets) ** 2 for penalty in PENALTIES])
    return np.nan_to_num(errors[:, ~np.isnan(errors[0])], nan=np.inf).sum(axis=1)


def _svd(matrix: Floats) -> tuple[Floats, Floats, Floats]:
    """Return u (m, r), s (r,) and v (n, r) of the directions that are not rounding."""
    if matrix.shape[0] < matrix.shape[1]:
        right, scales, left = _svd(matrix.T)
        return left, scales, right
    squares, right = np.linalg.eigh(matrix.T @ matrix)  # a third of the time of svd
    seen = squares > RANK_TOLERANCE**2 * max(squares[-1], 1.0)
    scales = np.sqrt(squares[seen])
    return matrix @ (right[:, seen] / scales), scales, right[:, seen]


def _size_covariates(data: Observations) -> Floats:
    """Return t, t^3 and one that is there only for a single contributor or all but one; (u, ...).

    Lone observations also have a level and t^2 of their own, which are even.
    """
    t = data.relative_sizes
    n_players = data.signs.shape[1]
    ends = np.sign(t) * (np.abs(t) > 1 - 3 / n_players)
    return np.column_stack([t, t**3, ends, data.lone, data.lone * t**2])
