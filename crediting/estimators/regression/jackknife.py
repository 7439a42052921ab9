"""Least squares on coalitions whose errors are told by leaving out units, without fitting anew.

A unit is all that a sample holds of a coalition and its complement. Designs that draw the two
together leave no other choice, and where complements meet by chance it does no harm. No correction
is made for a sample that holds much of all there is: the errors contain the noise of utilities.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.game.rows import Rows

Floats = NDArray[np.float64]

RANK_TOLERANCE = 1e-10
"""Features that vary less than this in some direction do not vary, but for rounding."""
SATURATED = 1e-9
"""A unit that leaves less than this of itself to be explained is needed to determine the fit."""


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
