"""The distinct coalitions of a sample, and which of them are complements of one another."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.game.coalition import CoalitionMatrix, is_proper
from crediting.game.game import EvaluatedSample

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """Distinct coalitions (m, n) of a sample, in order of first appearance.

    A unit is all that the sample holds of a coalition and its complement.
    """

    coalitions: CoalitionMatrix
    utilities: Floats
    """Means of what the sample holds of each, (m,)."""
    log_probabilities: Floats
    counts: Floats
    """How often the sample holds each, (m,)."""
    partners: NDArray[np.int64]
    """The row of each one's complement, (m,), or -1 where it is not there."""
    which: NDArray[np.int64]
    """The row that each evaluation is of, (k,)."""

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

    def halves(self) -> NDArray[np.int64]:
        """Return the half with player 0 of each proper pair that is there, (p,), by its members."""
        paired = (self.partners >= 0) & is_proper(self.coalitions)
        halves = np.flatnonzero(paired & self.coalitions[:, 0])
        return halves[np.lexsort(self.coalitions[halves].T[::-1])]

    def _leading(self) -> NDArray[np.bool_]:
        return (self.partners < 0) | (np.arange(len(self.partners)) < self.partners)


def distinct_rows(sample: EvaluatedSample, only_proper: bool = False) -> Rows:
    """Return the distinct ones among the coalitions of a sample, or among its proper ones."""
    looked_at = is_proper(sample.coalitions) if only_proper else slice(None)
    coalitions = sample.coalitions[looked_at]
    keys = [bits.tobytes() for bits in np.packbits(coalitions, axis=1)]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    which = np.array([places[key] for key in keys], dtype=np.int64)
    _, first = np.unique(which, return_index=True)
    counts = np.bincount(which).astype(np.float64)
    opposite = [bits.tobytes() for bits in np.packbits(~coalitions[first], axis=1)]
    return Rows(
        coalitions[first],
        np.bincount(which, weights=sample.utilities[looked_at]) / counts,
        sample.log_probabilities[looked_at][first],
        counts,
        np.array([places.get(key, -1) for key in opposite], dtype=np.int64),
        which,
    )
