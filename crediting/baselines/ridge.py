"""The damped inverse of a second-moment matrix of features, by whichever form is smaller."""

import torch
from torch import Tensor

from crediting.errors import ConfigError
from crediting.progress import say

_DIGITS_LEFT = 1e-13
"""Smallest share of the trace that lambda may have: double precision keeps three digits then."""


class RidgeInverse:
    """Multiplies by (F^T F + lambda I)^-1, given the rows of F.

    Where there are more dimensions than rows, only matrices of the rows' number are inverted, by
    the identity of Woodbury. All is in double precision on the CPU; where lambda is so small that
    the products have few digits nevertheless, it is said.

    Args:
        features: F, float64 (n, d).
        damping: lambda, or lambda as a multiple of a unit.
        relative: whether the unit is the mean squared norm of a row, which neither the scale of
            the gradients, nor the number of dimensions they are projected to, nor n changes.

    Raises:
        ConfigError: lambda is not positive, as when all features vanish, or too small to invert.
    """

    def __init__(self, features: Tensor, damping: float, relative: bool) -> None:
        unit = float(features.square().sum(dim=1).mean()) if relative else 1.0
        self._lambda = damping * unit
        if not self._lambda > 0:
            raise ConfigError(
                f"damping: expected a positive lambda, got {self._lambda}, because all gradients "
                "of the training examples vanish; train the model, or set relative=false"
            )
        n, d = features.shape
        self._features = features
        self._primal = d <= n
        moments = features.T @ features if self._primal else features @ features.T
        beside = float(self._lambda / moments.diagonal().sum())  # infinite if all vanish
        moments.diagonal().add_(self._lambda)
        factor, failed = torch.linalg.cholesky_ex(moments)
        if int(failed):
            raise ConfigError(
                f"damping: lambda is {self._lambda:.1e}, {beside:.0e} of what the squared "
                "gradients of the training examples add up to, which is too little to compute "
                "with; raise it"
            )
        if beside < _DIGITS_LEFT:
            say(
                f"damping: lambda is {beside:.0e} of what the squared gradients of the training "
                "examples add up to; of some scores only rounding errors may be left"
            )
        self._factor = factor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the product with each row, float64 (m, d)."""
        if self._primal:
            return torch.cholesky_solve(vectors.T, self._factor).T
        within = torch.cholesky_solve(self._features @ vectors.T, self._factor)
        return (vectors - within.T @ self._features) / self._lambda
