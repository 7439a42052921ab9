"""What becomes of a property when coalitions chosen by credit are retrained.

If credits are right, the property suffers most when those credited most are removed, and least, or
even gains, when only they are kept. Source: the paper, figure 3.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement.spread import spread_of_mean
from crediting.game.coalition import Coalition

Floats = NDArray[np.float64]


class Change(NamedTuple):
    """A change in percent of the full model's property: mean, by training seed (r,), interval.

    `low` and `high` are the ends of a 95 % interval; NaN where unknown.
    """

    mean: float
    per_seed: Floats
    low: float
    high: float


def removed(credits: Floats, share: float, higher_is_better: bool) -> Coalition:
    """Return the coalition (n,) that is left without the top share of the contributors.

    The top are those that do most to improve the property, equal credits in player order. Their
    number is rounded down as in the paper, but at least 1.

    Raises:
        ValueError: the share is not between 0 and 1, or a credit is NaN.
    """
    left = np.ones(len(credits), dtype=bool)
    left[_ranked(credits, higher_is_better)[: _count(share, len(credits))]] = False
    return left


def kept(credits: Floats, share: float, higher_is_better: bool) -> Coalition:
    """Return the coalition (n,) of the top share: that left without the bottom 1 - share.

    As in the paper it is the number of those removed that is rounded down, but at least 1; the
    rest, and what is raised, as `removed`.
    """
    left = np.ones(len(credits), dtype=bool)
    n_removed = _count(1 - share, len(credits))
    left[_ranked(credits, higher_is_better)[len(credits) - n_removed :]] = False
    return left


def relative_change(utilities: Floats, full: Floats) -> Change:
    """Return how far utilities, (r,) or (k, r), are from those of the full model (r,), in percent.

    Column s is trained with the seed of `full[s]`, and is compared with it; seeds of which a
    utility is NaN are left out. k rows are coalitions drawn at random, such as those that random
    removal leaves: then the interval is about other coalitions and other seeds. Of one seed it is
    about other coalitions only, of one coalition and one seed it is unknown. Where the full
    model's utility is 0 the change is undefined: NaN.

    Raises:
        ValueError: the seeds of both do not match.
    """
    return _summary(_percent(utilities, full))


def against_random(utilities: Floats, random: Floats, full: Floats) -> Change:
    """Return the change of utilities (r,) less that of k random coalitions (k, r), in points.

    Both are paired by training seed; otherwise, and in what is raised, as `relative_change`. Of one
    seed the interval is unknown: what luck the coalition itself had cannot be told.
    """
    change = _summary(_percent(utilities, full) - _percent(random, full))
    if (~np.isnan(change.per_seed)).sum() < 2:
        return change._replace(low=float("nan"), high=float("nan"))
    return change


def _ranked(credits: Floats, higher_is_better: bool) -> NDArray[np.intp]:
    """Return the players, the top one first."""
    if np.isnan(credits).any():
        raise ValueError("contributors without a credit cannot be ranked")
    return np.argsort(-credits if higher_is_better else credits, kind="stable")


def _count(share: float, n_players: int) -> int:
    if not 0 < share < 1:
        raise ValueError(f"expected a share between 0 and 1, got {share}")
    # Without the margin, 1 - 0.9 of 20 players would be 1: the difference is just below 0.1.
    return max(1, math.floor(share * n_players + 1e-9))


def _percent(utilities: Floats, full: Floats) -> Floats:
    """Return the relative changes (k, r)."""
    if full.ndim != 1 or utilities.ndim not in (1, 2) or utilities.shape[-1] != len(full):
        raise ValueError(f"expected utilities of {len(full)} seeds, got {utilities.shape}")
    changed = np.atleast_2d(utilities) - full
    zero = full == 0
    return np.where(zero, np.nan, 100 * changed / np.where(zero, 1.0, np.abs(full)))


def _summary(changes: Floats) -> Change:
    """Return the mean of changes (k, r) with its interval; `per_seed` keeps its NaN."""
    per_seed = changes.mean(axis=0)
    known = changes[:, ~np.isnan(per_seed)]
    if known.size == 0:
        return Change(float("nan"), per_seed, float("nan"), float("nan"))
    mean = float(known.mean())
    half_width = spread_of_mean(known).half_width
    return Change(mean, per_seed, mean - half_width, mean + half_width)
