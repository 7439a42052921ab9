"""Leaving out, or keeping alone, those credited most: what retraining then makes of a property."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement import Change, against_random, kept, relative_change, removed
from crediting.game.coalition import Coalition, CoalitionMatrix, coalition_key, distinct
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.compare.contestants import Contestant
from crediting.pipeline.compare.needs import Lack, Need, utilities

REMOVED, KEPT = "removed", "kept"
_CHOOSE = {REMOVED: removed, KEPT: kept}
RANDOM = "random"


class Counterfactual(NamedTuple):
    """The change of a property when the top share was removed, or kept, by somebody's credits.

    None where it was not trained yet. `beyond_random` is the change less that of random coalitions
    of the same size; None for these themselves, which are by nobody's credits but by `RANDOM`.
    """

    name: str
    which: str
    share: float
    left: int
    change: Change | None
    beyond_random: Change | None


def needs_of_counterfactuals(contest: Contest, everybody: Sequence[Contestant]) -> Iterator[Need]:
    """Yield the coalitions that top contributors leave, and random ones, training by training."""
    if not contest.settings["removals"] or not _shares(contest):
        return
    chosen = [
        row
        for one in everybody
        for name in contest.own.properties
        for _, _, row in _chosen(contest, one, name)
    ]
    random = [row for _, _, rows in _random(contest) for row in rows]
    coalitions = distinct(np.stack([*contest.own.ends[1:], *chosen, *random]))
    for times in range(1, contest.trainings + 1):
        truth = contest.truth.repeated(times)
        yield Need(f"counterfactuals, training {times}", truth, truth.game, coalitions)


def lacks_of_counterfactuals(contest: Contest, everybody: Sequence[Contestant]) -> Iterator[Lack]:
    """Yield how many evaluations those take at most whose credits are not known yet."""
    each = len(_shares(contest)) * contest.trainings
    for one in everybody:
        if one.name in contest.settings["removals"] and each:
            unknown = sum(
                one.fit(name, None) is None and one.refusal(name) is None
                for name in contest.own.properties
            )
            if unknown:
                purpose = f"counterfactuals by {one.name}, once its credits are known"
                yield Lack(purpose, unknown * each, None, "evaluations at most")


def counterfactuals(
    contest: Contest, everybody: Sequence[Contestant], name: str
) -> tuple[list[Counterfactual], list[Counterfactual]]:
    """Return the changes of a property by everybody's credits, and by chance."""
    full = _utilities(contest, contest.own.ends[1:], name)[0]
    by_chance, random = {}, []
    for which, share, rows in _random(contest):
        values = by_chance[which, share] = _utilities(contest, rows, name)
        if len(rows):
            change = relative_change(values, full) if _known(values, full) else None
            left = int(rows[0].sum())
            random.append(Counterfactual(RANDOM, which, share, left, change, None))
    found = []
    for one in everybody:
        for which, share, row in _chosen(contest, one, name):
            values = _utilities(contest, row[None], name)[0]
            chance = by_chance[which, share]
            trained = _known(values, full)
            compared = trained and len(chance) > 0 and _known(chance, full)
            change = relative_change(values, full) if trained else None
            beyond = against_random(values, chance, full) if compared else None
            found.append(Counterfactual(one.name, which, share, int(row.sum()), change, beyond))
    return found, random


def judged_by_their_own(
    contest: Contest, everybody: Sequence[Contestant], name: str
) -> Iterator[str]:
    """Yield whose chosen coalitions were among the retrained ones that they were chosen by.

    What is chosen because its training had luck has the same luck when it is judged.
    """
    reached, truth = contest.reached(), contest.truth.game.address.fingerprint
    for one in everybody:
        study = reached.get(one.name)
        if study is not None and study.game.address.fingerprint == truth:
            seen = {coalition_key(row) for row in study.sample.coalitions}
            if any(coalition_key(row) in seen for _, _, row in _chosen(contest, one, name)):
                yield one.name


def _chosen(contest: Contest, one: Contestant, name: str) -> Iterator[tuple[str, float, Coalition]]:
    """Yield the coalitions that somebody's credits for a property leave, if they were asked for."""
    found = one.fit(name, None) if one.name in contest.settings["removals"] else None
    if found is None:
        return
    better = contest.own.properties[name].higher_is_better
    for which, share in _shares(contest):
        left = _CHOOSE[which](found.credits, share, better)
        if left.any():
            yield which, share, left


def _shares(contest: Contest) -> list[tuple[str, float]]:
    removals = [(REMOVED, share) for share in contest.settings["remove"]]
    return removals + [(KEPT, share) for share in contest.settings["keep"]]


def _random(contest: Contest) -> Iterator[tuple[str, float, CoalitionMatrix]]:
    """Yield as many random coalitions of each size as asked for: the first of the tests of it."""
    n_players, count = len(contest.own.partition), contest.settings["random"]
    for which, share in _shares(contest):
        left = int(_CHOOSE[which](np.arange(n_players, dtype=float), share, True).sum())
        rows = contest.of_size(left / n_players, count) if count and left else contest.own.ends[:0]
        yield which, share, rows


def _utilities(contest: Contest, rows: CoalitionMatrix, name: str) -> NDArray[np.float64]:
    """Return utilities by training seed, (m, r); NaN where not trained yet."""
    return utilities(contest.truth.repeated(contest.trainings), rows, name)


def _known(values: NDArray[np.float64], full: NDArray[np.float64]) -> bool:
    """Return whether any training seed has all that a change needs."""
    return bool((~np.isnan(np.atleast_2d(values)).any(axis=0) & ~np.isnan(full)).any())
