"""Least squares on coalitions whose errors are told by leaving out units, without fitting anew.

A unit is all that a sample holds of a coalition and its complement. Designs that draw the two
together leave no other choice, and where complements meet by chance it does no harm. No correction
is made for a sample that holds much of all there is: the errors contain the noise of utilities.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.game.coalition import CoalitionMatrix

Floats = NDArray[np.float64]

RANK_TOLERANCE = 1e-10
"""Features that vary less than this in some direction do not vary, but for rounding."""
SATURATED = 1e-9
"""A unit that leaves less than this of itself to be explained is needed to determine the fit."""


class Rows(NamedTuple):
    """Distinct coalitions (m, n) of a sample, in order of first appearance."""

    coalitions: CoalitionMatrix
    utilities: Floats
    """Means of what the sample holds of each, (m,)."""
    log_probabilities: Floats
    counts: Floats
    """How often the sample holds each, (m,)."""
    partners: NDArray[np.int64]
    """The row of each one's complement, (m,), or -1 where it is not there."""

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self._leading().sum())

    def by_unit(self, values: Floats) -> Floats:
        """Return the sums of values (m, ...) over each unit, (n_units, ...)."""
        leading = self._leading()
        sums, partners = values[leading], self.partners[leading]
        paired = partners >= 0
        sums[paired] += values[partners[paired]]
        return sums

    def of_partner(self, values: Floats) -> Floats:
        """Return the values (m, ...) of each one's complement, 0 where it is not there."""
        found = values[self.partners]
        found[self.partners < 0] = 0
        return found

    def _leading(self) -> NDArray[np.bool_]:
        return (self.partners < 0) | (np.arange(len(self.partners)) < self.partners)


def distinct_rows(
    coalitions: CoalitionMatrix, utilities: Floats, log_probabilities: Floats
) -> Rows:
    """Return the distinct ones among evaluated coalitions (m, n)."""
    keys = [bits.tobytes() for bits in np.packbits(coalitions, axis=1)]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    which = np.array([places[key] for key in keys], dtype=np.int64)
    _, first = np.unique(which, return_index=True)
    counts = np.bincount(which).astype(np.float64)
    opposite = [bits.tobytes() for bits in np.packbits(~coalitions[first], axis=1)]
    return Rows(
        coalitions[first],
        np.bincount(which, weights=utilities) / counts,
        log_probabilities[first],
        counts,
        np.array([places.get(key, -1) for key in opposite], dtype=np.int64),
    )


class LinearFit(NamedTuple):
    """Weighted least squares of utilities on features (m, k) and an intercept, decomposed.

    With features centred at their weighted means, `basis` (m, r) times the square roots of `values`
    (r,) times `vectors` (k, r) transposed are the features times the square roots of the weights.
    A penalty is put on the sum of the squared coefficients, not on the intercept.
    """

    rows: Rows
    weights: Floats
    centre: Floats
    level: float
    basis: Floats
    values: Floats
    vectors: Floats

    @property
    def targets(self) -> Floats:
        """Centred utilities times the square roots of the weights, (m,)."""
        return np.sqrt(self.weights) * (self.rows.utilities - self.level)

    def coefficients(self, penalty: float) -> Floats:
        """Return the coefficients of the features, (k,); of many solutions the smallest."""
        return self._inverse(penalty) @ (self.basis.T @ self.targets)

    def utility_weights(self, penalty: float, combination: Floats, of_level: Floats) -> Floats:
        """Return the weights (c, m) of the utilities in what `jackknife` is the covariance of."""
        of_targets = (combination @ self._inverse(penalty)) @ self.basis.T
        level = np.outer(of_level, self.weights / self.weights.sum())
        return of_targets * np.sqrt(self.weights) + level

    def left_out(self, penalties: Floats) -> Floats:
        """Return weighted residuals (m, p) from fits without the unit, NaN where these need it.

        Those of a unit are (I - H)^-1 e, with e its residuals and H its block of the hat matrix.
        """
        rows, values = self.rows, self.values[:, None]
        kept = values / (values + penalties)
        roots = np.sqrt(self.weights / self.weights.sum())[:, None]
        own = 1 - roots**2 - self.basis**2 @ kept
        across = -roots * rows.of_partner(roots)
        across = across - (self.basis * rows.of_partner(self.basis)) @ kept
        fitted = self.basis @ (kept * (self.basis.T @ self.targets)[:, None])
        residuals = self.targets[:, None] - fitted
        lone = rows.partners[:, None] < 0
        others = np.where(lone, 1, rows.of_partner(own))
        determinants = own * others - across**2
        determinants[determinants < SATURATED] = np.nan
        return (others * residuals - across * rows.of_partner(residuals)) / determinants

    def jackknife(self, penalty: float, combination: Floats, of_level: Floats) -> Floats:
        """Return the covariance (c, c) of combination (c, k) @ coefficients + of_level * level.

        `level` is the fit at the centre of the features. NaN where a fit needs one of the units.
        """
        left_out = self.left_out(np.array([penalty]))
        moved = self.rows.by_unit(self.basis * left_out)
        moved = moved @ (combination @ self._inverse(penalty)).T
        shifts = self.rows.by_unit(np.sqrt(self.weights)[:, None] * left_out)
        moved += shifts / self.weights.sum() * of_level
        n_units = len(moved)
        return (n_units - 1) / n_units * moved.T @ moved

    def degrees(self, penalty: float) -> float:
        """Return the degrees of freedom that the units leave to their residuals, at least 1."""
        used = (self.values / (self.values + penalty)).sum()
        return max(1.0, float(self.rows.n_units - used))

    def _inverse(self, penalty: float) -> Floats:
        """Return what maps targets in terms of the basis to coefficients, (k, r)."""
        return self.vectors * (np.sqrt(self.values) / (self.values + penalty))


def linear_fit(rows: Rows, features: Floats, weights: Floats) -> LinearFit:
    """Return the fit of the utilities of rows on features (m, k) with weights (m,)."""
    total = weights.sum()
    centre = weights @ features / total
    weighted = np.sqrt(weights)[:, None] * (features - centre)
    values, vectors = np.linalg.eigh(weighted.T @ weighted)
    seen = values > RANK_TOLERANCE * total
    values, vectors = values[seen], vectors[:, seen]
    level = float(weights @ rows.utilities / total)
    basis = weighted @ (vectors / np.sqrt(values))
    return LinearFit(rows, weights, centre, level, basis, values, vectors)


def not_below(covariance: Floats, errors: Floats) -> Floats:
    """Return a covariance (n, n) whose standard errors are at least these (n,), NaN for unknown.

    Where a credit hangs on a single utility, so does its error from leaving out units, and may be
    small by chance; the noise of that utility, if measured, is not.
    """
    return covariance + np.diag(np.fmax(errors**2 - np.diag(covariance), 0))
