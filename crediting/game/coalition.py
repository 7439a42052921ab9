"""Coalitions: subsets of the contributors as boolean rows, and their canonical keys."""

import numpy as np
from numpy.typing import NDArray

Coalition = NDArray[np.bool_]
"""One subset of the players, shape (n,): True where the contributor takes part."""

CoalitionMatrix = NDArray[np.bool_]
"""Many coalitions, shape (m, n)."""


def empty_coalition(n_players: int) -> Coalition:
    """Return the coalition of nobody, (n,)."""
    return np.zeros(n_players, dtype=bool)


def grand_coalition(n_players: int) -> Coalition:
    """Return the coalition of everybody, (n,)."""
    return np.ones(n_players, dtype=bool)


def ends(n_players: int) -> CoalitionMatrix:
    """Return the empty and the grand coalition, (2, n)."""
    return np.stack([empty_coalition(n_players), grand_coalition(n_players)])


def is_proper(coalitions: CoalitionMatrix) -> NDArray[np.bool_]:
    """Return which coalitions (m, n) are neither the empty nor the grand one, (m,)."""
    sizes = coalitions.sum(axis=1)
    return (sizes > 0) & (sizes < coalitions.shape[1])


def all_coalitions(n_players: int) -> CoalitionMatrix:
    """Return all 2^n coalitions, (2^n, n); row r holds the binary digits of r, player 0 lowest."""
    return (np.arange(2**n_players)[:, None] >> np.arange(n_players) & 1).astype(bool)


def coalition_key(coalition: Coalition) -> str:
    """Return the canonical text of a coalition: its size over n and its bits in hexadecimal."""
    return coalition_keys(coalition[None])[0]


def coalition_keys(coalitions: CoalitionMatrix) -> list[str]:
    """Return the `coalition_key` of every row, (m,), vectorised."""
    bits = np.packbits(coalitions, axis=1, bitorder="little")
    n_players, digits = coalitions.shape[1], 2 * bits.shape[1]
    text = bits.tobytes().hex()
    return [
        f"{size}of{n_players}-{text[at * digits : (at + 1) * digits]}"
        for at, size in enumerate(coalitions.sum(axis=1).tolist())
    ]


def coalition_from_key(key: str) -> Coalition:
    """Return the coalition, (n,), whose `coalition_key` is given."""
    head, bits = key.split("-")
    n_players = int(head.split("of")[1])
    packed = np.frombuffer(bytes.fromhex(bits), dtype=np.uint8)
    return np.unpackbits(packed, count=n_players, bitorder="little").astype(bool)


def distinct(coalitions: CoalitionMatrix) -> CoalitionMatrix:
    """Return the rows without repeats, in order of first appearance."""
    return coalitions[np.sort(first_appearances(coalitions))]


def first_appearances(coalitions: CoalitionMatrix) -> NDArray[np.intp]:
    """Return the places of distinct rows where they come first, the rows in ascending order."""
    bits = np.packbits(coalitions, axis=1)
    # Bytes of bits, player 0 highest, are in the same order as the rows, and compared at once.
    _, first = np.unique(bits.view(f"V{bits.shape[1]}").ravel(), return_index=True)
    return first
