"""What a design drew at once, read off the coalitions: orders, pairs of complements, single ones.

Whatever resamples a sample resamples these, for only they are independent of one another.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.game.coalition import CoalitionMatrix

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST = 0.75
"""So many rows make a structure that of the design; by chance it comes about far less often."""
CHUNK_BYTES = 2**25


class Orders(NamedTuple):
    """Orders in which the contributors join, each of which has all its coalitions in a sample.

    `rows` (k, n - 1) are the places of its coalitions in the sample, by size; `places` (k, n)
    those of the contributors in the order, from 0; `units` (k,) the number of the draw that it
    belongs to: an order and its reverse right after it are one.
    """

    rows: Integers
    places: Integers
    units: Integers


def complete_orders(coalitions: CoalitionMatrix) -> Orders:
    """Return the orders among coalitions (m, n), which stand one after another and grow by one."""
    n_rows, n_players = coalitions.shape
    sizes = coalitions.sum(axis=1)
    stays = ~(coalitions[:-1] & ~coalitions[1:]).any(axis=1)
    grown = np.cumsum(np.append(0, stays & (sizes[1:] == sizes[:-1] + 1)))
    steps = n_players - 2
    starts = np.flatnonzero(sizes[: max(0, n_rows - steps)] == 1)
    starts = starts[grown[starts + steps] - grown[starts] == steps]
    rows = starts[:, None] + np.arange(n_players - 1)
    places = n_players - 1 - coalitions[rows].sum(axis=1)
    return Orders(rows, places, _order_units(places))


def _order_units(places: Integers) -> Integers:
    """Return the unit of each order, (k,); reverses count only where the design has them."""
    n_orders, n_players = places.shape
    units = np.arange(n_orders)
    for order in range(1, n_orders):
        is_reverse = (places[order] + places[order - 1] == n_players - 1).all()
        if is_reverse and units[order - 1] == order - 1:
            units[order] = order - 1
    in_pairs = 2 * np.count_nonzero(units != np.arange(n_orders))
    return units if in_pairs >= MOST * n_orders else np.arange(n_orders)


def sampling_units(coalitions: CoalitionMatrix) -> Integers:
    """Return for each of the coalitions (m, n) the number of its unit, (m,), in no order."""
    rows, _, units = complete_orders(coalitions)
    if rows.size < MOST * len(coalitions):
        return _complement_units(coalitions)
    labels = np.arange(len(coalitions))
    labels[rows] = len(coalitions) + units[:, None]
    return labels


def _complement_units(coalitions: CoalitionMatrix) -> Integers:
    """Return units (m,) of a coalition and its complement, if they were drawn in such pairs.

    Draws that are independent of one another have complements too, by chance: if both are equally
    likely, their numbers a and b differ by E (a - b)^2 = a + b. In pairs, they hardly differ.
    """
    n_rows = len(coalitions)
    has_first = coalitions[:, :1]
    halves = np.packbits(coalitions ^ ~has_first, axis=1)
    _, pair = np.unique(halves, axis=0, return_inverse=True)
    surplus = np.bincount(pair.ravel(), weights=np.where(has_first.ravel(), 1, -1))
    if (surplus**2).sum() > (1 - MOST) * n_rows:
        return np.arange(n_rows)
    coalition = 2 * pair.ravel() + has_first.ravel()
    by_coalition = np.argsort(coalition, kind="stable")
    ordered = coalition[by_coalition]
    copy = np.empty(n_rows, dtype=np.int64)
    copy[by_coalition] = np.arange(n_rows) - np.searchsorted(ordered, ordered)
    return pair.ravel() * n_rows + copy


def bootstrap_credits(credits: Floats, influences: Floats, replicates: int, seed: int) -> Floats:
    """Return credits (r, n) of so many resamples of the units, to first order in their numbers.

    First order about the credits without a unit: as wide as the jackknife, and the regression need
    not be solved anew.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, sections 9.5 (pairs), 20.4
    (infinitesimal jackknife); Wu, "Jackknife, bootstrap and other resampling methods in regression
    analysis", 1986.
    """
    generator = np.random.default_rng(seed)
    n_units = len(influences)
    chunk = max(1, CHUNK_BYTES // (8 * n_units))
    resampled = []
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        times = generator.multinomial(n_units, np.full(n_units, 1 / n_units), size=size)
        resampled.append(credits + (times - 1.0) @ influences)
    return np.concatenate(resampled)
