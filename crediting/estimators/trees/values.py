"""Exact Shapley values of decision trees over membership.

A tree whose features are who takes part is a game, v(S) = tree(1_S). Each leaf is reached by the
coalitions that hold all of some set A and none of some set B, and such a game has Shapley values in
closed form.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NOBODY = -1


class Forest(NamedTuple):
    """Trees whose values are added up, their nodes one after another.

    A node asks for a player, `players` (k,), NOBODY at leaves; `absent` and `present` (k,) are the
    nodes to go to without and with that player. `values` (k,) matter at leaves, `roots` (r,) are
    the nodes where the trees begin.
    """

    players: Integers
    absent: Integers
    present: Integers
    values: Floats
    roots: Integers


def forest_shapley_values(forest: Forest, n_players: int) -> Floats:
    """Return the Shapley values of a forest as a game, (n,).

    A leaf of value y adds y (|A|-1)! |B|! / (|A|+|B|)! to members of A and
    -y |A|! (|B|-1)! / (|A|+|B|)! to those of B.

    Source: Lundberg et al., "From local explanations to global understanding with explainable AI
    for trees", 2020 (interventional TreeSHAP with all-absent and all-present as the two rows).
    """
    credits = np.zeros(n_players)
    nodes, paths = forest.roots, np.empty((len(forest.roots), 0), dtype=np.int64)
    while len(nodes):
        leaf = forest.players[nodes] == NOBODY
        _share_out(credits, paths[leaf], forest.values[nodes[leaf]])
        nodes, paths = _children(forest, nodes[~leaf], paths[~leaf])
    return credits


def _children(forest: Forest, nodes: Integers, paths: Integers) -> tuple[Integers, Integers]:
    """Return the reachable children of inner nodes, and the conditions on the way to each.

    A condition is twice the player, plus 1 for one who must be present; NOBODY fills a column.
    """
    found = []
    for side, children in enumerate((forest.absent, forest.present)):
        condition = 2 * forest.players[nodes] + side
        opposite = 2 * forest.players[nodes] + 1 - side
        reachable = ~(paths == opposite[:, None]).any(axis=1)
        known = (paths == condition[:, None]).any(axis=1)
        longer = np.column_stack([paths, np.where(known, NOBODY, condition)])
        found.append((children[nodes][reachable], longer[reachable]))
    (left, left_paths), (right, right_paths) = found
    return np.concatenate([left, right]), np.concatenate([left_paths, right_paths])


def _share_out(credits: Floats, paths: Integers, values: Floats) -> None:
    """Add to credits (n,) what leaves are worth, by their paths (l, d) and values (l,)."""
    asked = paths != NOBODY
    wanted = asked & (paths % 2 == 1)
    with_all, without_any = wanted.sum(axis=1), (asked & ~wanted).sum(axis=1)
    orders = comb(with_all + without_any, with_all)
    gains = values / (np.maximum(with_all, 1) * orders)
    losses = values / (np.maximum(without_any, 1) * orders)
    shares = np.where(wanted, gains[:, None], -losses[:, None])
    np.add.at(credits, paths[asked] // 2, shares[asked])
