"""How far credits are from Shapley's axioms, in the unit of the property; 0 is no violation.

Symmetry and null player ask what every coalition is worth, so they need a game that is known in
full: its utilities (2^n,) in the order of `all_coalitions`. Short of that, they are checked on
contributors of whom it is known beforehand what they gave. There is no axiom here for additivity,
which speaks of two games at once.

Source: Shapley, "A value for n-person games", 1953.
"""

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from crediting.errors import DataError, first_of
from crediting.game.attribution import Attribution
from crediting.game.contributor import as_stored, look
from crediting.game.enumeration import is_complete, with_ends
from crediting.game.game import EvaluatedSample

_ROUNDING = 1e-9  # as a share of the largest difference in question
_LAST_DIGITS = 64  # of a number, in units of its last binary one, that sums and means may change


# ------------------------------------------------------------------------------ gaps


def symmetry_gap(
    credits: NDArray[np.float64], utilities: NDArray[np.float64], tolerance: float
) -> float:
    """Return the largest difference in credits (n,) between two interchangeable players.

    Utilities (2^n,) that differ by at most the tolerance count as equal.
    """
    pairs = interchangeable_players(utilities, tolerance)
    return max((float(abs(credits[i] - credits[j])) for i, j in pairs), default=0.0)


def null_player_gap(
    credits: NDArray[np.float64], utilities: NDArray[np.float64], tolerance: float
) -> float:
    """Return the largest absolute credit of a player who adds nothing to any coalition.

    Marginal contributions of at most the tolerance count as nothing; `utilities` has shape (2^n,).
    """
    null = null_players(utilities, tolerance)
    return float(np.abs(credits[null]).max(initial=0.0))


def interchangeable_players(
    utilities: NDArray[np.float64], tolerance: float
) -> list[tuple[int, int]]:
    """Return the pairs i < j with v(S + i) = v(S + j) for every coalition S without both."""
    game = _by_player(utilities)
    return [
        (i, j)
        for i, j in combinations(range(game.ndim), 2)
        if np.abs(game - game.swapaxes(i, j)).max() <= tolerance
    ]


def null_players(utilities: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Return the players i with v(S + i) = v(S) for every coalition S, (n_null,)."""
    game = _by_player(utilities)
    largest = [np.abs(np.diff(game, axis=player)).max() for player in range(game.ndim)]
    return np.flatnonzero(np.array(largest) <= tolerance)


def _by_player(utilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return utilities (2^n,) as an array (2,) * n; its axis i says whether player i takes part."""
    n_players = len(utilities).bit_length() - 1
    return utilities.reshape((2,) * n_players).T


# ------------------------------------------------------------------------------ findings


def findings(
    sample: EvaluatedSample,
    attribution: Attribution,
    names: Sequence[str],
    duplicates: Sequence[Sequence[str]],
    null_players: Sequence[str],
) -> tuple[str, ...]:
    """Return how credits stand to the axioms, a sentence each, to be read under their table.

    Args:
        sample: what was estimated from; where it holds all coalitions, interchangeable and null
            contributors are found in it.
        attribution: the credits of the n contributors.
        names: of the contributors, (n,).
        duplicates: groups of contributors who gave the same.
        null_players: contributors who gave nothing.

    Raises:
        DataError: a name is not that of a contributor, or a group has fewer than 2 of them.
    """
    groups, declared = declared_players(names, duplicates, null_players)
    lines = [
        _efficiency(attribution),
        *(_declared_symmetry(attribution, names, group) for group in groups),
        *(_declared_null_player(attribution, names, player) for player in declared),
    ]
    utilities = with_ends(sample) if is_complete(sample) else None
    if utilities is not None:
        lines += _found(utilities, attribution, names)
    elif not groups and not declared:
        lines.append(
            "Symmetry and null player can be checked on contributors known beforehand "
            "(axioms.duplicates, axioms.null_players) or where all coalitions are evaluated."
        )
    return tuple(lines)


def _efficiency(attribution: Attribution) -> str:
    missing, shared_out = attribution.efficiency_gap, attribution.v_full - attribution.v_empty
    if abs(missing) <= _rounding_of_credits(attribution):
        return "Efficiency holds: the credits sum to v(N) - v(empty)."
    percent = 100 * abs(missing / shared_out) if shared_out else 0.0
    share = f", {percent:{'.2g' if percent < 99.5 else ',.0f'}}% of it" if shared_out else ""
    direction = "less" if missing > 0 else "more"
    return (
        f"Efficiency: the credits sum to {abs(missing):.3g} {direction} than "
        f"v(N) - v(empty){share}."
    )


def _declared_symmetry(attribution: Attribution, names: Sequence[str], group: list[int]) -> str:
    """Judge the two members of a group whose credits are furthest apart.

    Somebody is always furthest apart: by chance the more, the larger the group is.
    """
    credits = attribution.credits
    first, second = max(combinations(group, 2), key=lambda pair: np.ptp(credits[list(pair)]))
    gap = float(abs(credits[first] - credits[second]))
    apart = np.ptp(attribution.draws[:, group] - credits[group], axis=1)
    likely = float(np.quantile(apart, attribution.confidence)) if len(apart) else math.nan
    verdict, distance = _judged(gap, likely, attribution)
    furthest = f", the furthest apart of {len(group)} duplicates," if len(group) > 2 else ""
    return (
        f"Symmetry {verdict}: the credits of {names[first]} and {names[second]}{furthest} "
        f"differ by {distance}."
    )


def _declared_null_player(attribution: Attribution, names: Sequence[str], player: int) -> str:
    gap = float(abs(attribution.credits[player]))
    reach = float(attribution.ci_high[player] - attribution.ci_low[player]) / 2
    verdict, distance = _judged(gap, reach, attribution)
    return f"Null player {verdict}: the credit of {names[player]} differs from 0 by {distance}."


def _judged(gap: float, likely: float, attribution: Attribution) -> tuple[str, str]:
    """Return a verdict on a gap in credits, and the gap beside what chance makes likely."""
    if gap <= _rounding_of_credits(attribution):
        return "holds", "nothing but rounding"
    if math.isnan(likely):
        return "cannot be judged", f"{gap:.3g}, of unknown standard error"
    if likely == 0 and np.isnan(attribution.noise_errors).any():
        return "cannot be judged", f"{gap:.3g}, and no replicate has measured the noise"
    verdict = "holds" if gap <= likely else "is doubtful"
    return verdict, f"{gap:.3g}; up to {likely:.3g} is within chance"


def _found(
    utilities: NDArray[np.float64], attribution: Attribution, names: Sequence[str]
) -> Iterator[str]:
    """Say what becomes of the contributors whom utilities (2^n,) show to be equal or null."""
    credits, rounding = attribution.credits, _rounding(utilities)
    pairs = interchangeable_players(utilities, rounding)
    null = null_players(utilities, rounding)
    if pairs:
        gap = symmetry_gap(credits, utilities, rounding)
        who = first_of([f"{names[i]} and {names[j]}" for i, j in pairs])
        yield _by_utilities("Symmetry", gap, attribution, f"{who} are interchangeable")
    if len(null):
        gap = null_player_gap(credits, utilities, rounding)
        who = first_of([names[player] for player in null])
        yield _by_utilities(
            "Null player", gap, attribution, f"{who} {'adds' if len(null) == 1 else 'add'} nothing"
        )
    if not pairs and not len(null):
        yield (
            "In all coalitions no two contributors are interchangeable and nobody adds nothing: "
            "symmetry and null player demand nothing of these credits."
        )


def _by_utilities(axiom: str, gap: float, attribution: Attribution, fact: str) -> str:
    verdict = "holds" if gap <= _rounding_of_credits(attribution) else f"is missed by {gap:.3g}"
    return f"{axiom} {verdict}: in all coalitions {fact}."


def _rounding(values: NDArray[np.float64]) -> float:
    """Return what rounding may do to differences of values (k,), however high they all lie."""
    last_digits = _LAST_DIGITS * float(np.finfo(np.float64).eps) * float(np.abs(values).max())
    return _ROUNDING * float(np.ptp(values)) + last_digits


def _rounding_of_credits(attribution: Attribution) -> float:
    ends = np.array([attribution.v_empty, attribution.v_full])
    return _ROUNDING * float(np.abs(attribution.credits).max()) + _rounding(ends)


# ------------------------------------------------------------------------------ names


def declared_players(
    names: Sequence[str], duplicates: Sequence[Sequence[str]], null_players: Sequence[str]
) -> tuple[list[list[int]], list[int]]:
    """Return the places of duplicates, by group, and of null players; raises as `findings`."""
    groups = [_group(group, names) for group in duplicates]
    return groups, [_player(name, names, "axioms.null_players") for name in null_players]


def _group(group: Sequence[str], names: Sequence[str]) -> list[int]:
    listed = isinstance(group, Sequence) and not isinstance(group, str)
    distinct = dict.fromkeys(look(str(name)) for name in group) if listed else {}
    if len(distinct) < 2:
        raise DataError(
            "axioms.duplicates: expected groups of at least 2 contributors, such as [[ada, bo]], "
            f"got {group!r} for a group; name those who gave the same together"
        )
    return [_player(name, names, "axioms.duplicates") for name in distinct]


def _player(name: str, names: Sequence[str], key: str) -> int:
    (stored,) = as_stored([name], names)
    if stored in names:
        return list(names).index(stored)
    near = get_close_matches(str(name), names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {first_of(names)}"
    raise DataError(f"{key}: expected names of contributors, got {name!r}; {hint}")
