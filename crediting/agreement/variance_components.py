"""The variance of a utility, split into what the coalition, its training and its images give it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


_ROUNDING = 1e-12


class Component(NamedTuple):
    """A part of a variance, 0 where its estimate is negative, and its degrees of freedom.

    While it is estimated, a mean square and its own.
    """

    variance: float
    degrees: float


class VarianceComponents(NamedTuple):
    """The variance of one utility: of one training and its images. NaN is unknown."""

    coalition: Component
    training: Component
    generation: Component

    def shares(self) -> dict[str, float]:
        """Return the share of every component in their sum; NaN where they are all zero."""
        variances = {name: part.variance for name, part in self._asdict().items()}
        total = sum(variances.values())
        return {name: one / total if total else float("nan") for name, one in variances.items()}


def variance_components(
    utilities: Floats, first: Floats, second: Floats, half: float
) -> VarianceComponents:
    """Return the components by the method of moments.

    The utility of coalition s in replicate r is m + C_s + R_r + T_sr + G_sr, with the effects of
    the coalition, of the random numbers that all coalitions of a replicate share (which cancels in
    every credit and is no component), of training and of generation. With the mean squares MS_C of
    m coalitions and MS_E of what rows and columns leave, over r replicates,

        E[MS_E] = var(T) + var(G),    E[MS_C] = r var(C) + E[MS_E].

    Two halves of the images of one model differ by generation alone; a bias of few images, such as
    that of the FID, is common to both. The variance of a property falls as one over the images, so
    with D the variance of `first - second` within replicates, (m - 1) degrees of freedom in each,

        E[D] = 2 var(G) / half.

    Degrees of freedom of differences of mean squares are Satterthwaite's.

    Args:
        utilities: of all images, (m, r); coalitions without all replicates are left out.
        first: of the first half of the images, (m, r).
        second: of the other half, (m, r).
        half: images of a half over all images.

    Source: Searle, Casella & McCulloch, "Variance Components", 1992, sections 4.3 and 5.2;
    Satterthwaite, "An approximate distribution of estimates of variance components", 1946.
    """
    coalitions, noise = _two_way(_complete(utilities))
    apart = _within_columns(_complete(first - second))
    generation = Component(apart.variance * half / 2, apart.degrees)
    return VarianceComponents(
        _difference(coalitions, noise, utilities.shape[1]),
        _difference(noise, generation, 1),
        generation,
    )


def _complete(table: Floats) -> Floats:
    return table[~np.isnan(table).any(axis=1)]


def _two_way(table: Floats) -> tuple[Component, Component]:
    """Return the mean squares of rows and of what rows and columns leave, of (m, r)."""
    rows, columns = table.shape
    if rows < 2:
        return _UNKNOWN, _UNKNOWN
    means = table.mean(axis=1)
    between = Component(columns * float(means.var(ddof=1)), rows - 1)
    if columns < 2:
        return between, _UNKNOWN
    left = table - means[:, None] - table.mean(axis=0) + table.mean()
    degrees = (rows - 1) * (columns - 1)
    return between, Component(float((left**2).sum()) / degrees, degrees)


def _within_columns(table: Floats) -> Component:
    rows, columns = table.shape
    if rows < 2:
        return _UNKNOWN
    degrees = columns * (rows - 1)
    return Component(float(((table - table.mean(axis=0)) ** 2).sum()) / degrees, degrees)


def _difference(more: Component, less: Component, times: int) -> Component:
    """Return (more - less) / times, or 0 without degrees of freedom if that is negative."""
    apart = more.variance - less.variance
    if np.isnan(apart):
        return _UNKNOWN
    if apart <= _ROUNDING * more.variance:
        return Component(0.0, float("nan"))
    unsure = sum(square.variance**2 / square.degrees for square in (more, less))
    return Component(apart / times, apart**2 / unsure)


_UNKNOWN = Component(float("nan"), float("nan"))
