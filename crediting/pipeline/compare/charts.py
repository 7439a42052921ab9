"""The figures of a comparison; each returns whether there was anything to draw."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crediting.agreement import Change, spearman
from crediting.pipeline.compare.agreements import Agreement
from crediting.pipeline.compare.contest import OWN, Contest, but_for_steps
from crediting.pipeline.compare.contestants import estimated
from crediting.pipeline.compare.counterfactuals import REMOVED, Counterfactual, RandomChange
from crediting.pipeline.compare.judged import BudgetPoint, Judged, credits_of, parts_of
from crediting.pipeline.compare.published import (
    published_budget,
    published_estimates,
    published_facts,
)
from crediting.pipeline.compare.tables import RANDOM
from crediting.reporting.bars import score_bars
from crediting.reporting.curves import Series, convergence_chart, curve_chart
from crediting.reporting.grid import Estimate
from crediting.reporting.scatter import Panel, scatter_chart

UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def scores(contest: Contest, name: str, judged: Sequence[Judged], path: Path) -> bool:
    """Draw everybody's datamodel scores as bars, the best at the main size first."""
    main = contest.main_alpha
    known = [one for one in judged if one.scores]
    known.sort(key=lambda one: -one.scores[main].score if main in one.scores else math.inf)
    if not known:
        return False
    groups = {
        f"alpha={alpha:g}": {one.contestant.name: _score(one, alpha) for one in known}
        for alpha in sorted(contest.tests)
        if any(alpha in one.scores for one in known)
    }
    published = published_estimates(contest, name)
    score_bars(path, f"Datamodel score for {name}", "LDS [%]", groups, published, OWN)
    return True


def budget(
    contest: Contest, name: str, curves: Mapping[str, Sequence[BudgetPoint]], path: Path
) -> bool:
    """Draw the main score of every method against the hours of work that it took."""
    series = [
        Series(
            key,
            [point.hours for point in points],
            [point.score.score for point in points],
            [point.score.low for point in points],
            [point.score.high for point in points],
            published=False,
        )
        for key, points in curves.items()
    ]
    for key, known in published_budget(contest, name).items():
        series.append(
            Series(
                f"{key}, published",
                [hours for hours, _ in known],
                [score.value for _, score in known],
                [score.low for _, score in known],
                [score.high for _, score in known],
                published=True,
            )
        )
    if series:
        title = f"Datamodel score for {name}, alpha={contest.main_alpha:g}"
        curve_chart(path, title, "hours of work", "LDS [%]", series)
    return bool(series)


def errors(
    contest: Contest, name: str, curves: Mapping[str, Sequence[BudgetPoint]], path: Path
) -> bool:
    """Draw how far the credits of every method are from the reference's, against hours of work."""
    series = []
    for key, points in curves.items():
        known = [(point.hours, point.error) for point in points if point.error is not None]
        unknown = [math.nan] * len(known)
        if len(known) > 1:
            x, y = ([pair[place] for pair in known] for place in (0, 1))
            series.append(Series(key, x, y, unknown, unknown, published=False))
    if series:
        title = f"Credits for {name} against those of {contest.reference}"
        unit = contest.own.properties[name].unit
        label = "mean absolute difference" + (f" [{unit}]" if unit else "")
        curve_chart(path, title, "hours of work", label, series)
    return bool(series)


def changes(
    contest: Contest,
    name: str,
    found: Sequence[Counterfactual],
    random: Sequence[RandomChange],
    path: Path,
) -> bool:
    """Draw how the property changes against the share removed: top ones below, bottom ones above.

    Keeping the top 60 % is removing the bottom 40 %; of ten contributors, 95 % and 90 % are alike.
    """
    curves: dict[str, list[tuple[float, Change]]] = {}
    everything: list[Counterfactual | RandomChange] = [*found, *random]
    for one in everything:
        if one.change is not None:
            label = RANDOM
            if isinstance(one, Counterfactual):
                label = f"{one.name}, {'top' if one.which == REMOVED else 'bottom'} removed"
            removed = 1 - one.left / len(contest.own.partition)
            curves.setdefault(label, []).append((100 * removed, one.change))
    series = []
    for label, points in curves.items():
        ordered = sorted(dict(points).items())  # chance is the same from either end
        series.append(
            Series(
                label,
                [share for share, _ in ordered],
                [change.mean for _, change in ordered],
                [change.low for _, change in ordered],
                [change.high for _, change in ordered],
                published=False,
            )
        )
    series += _published_changes(contest, name)
    if series:
        title = f"{name} without the contributors credited most, or least"
        curve_chart(path, title, "contributors removed [%]", f"change of {name} [%]", series)
    return bool(series)


def utilities(contest: Contest, name: str, found: Sequence[Agreement], path: Path) -> bool:
    """Draw the utilities of every method against those of retraining."""
    shown = [one for one in found if one.alpha == contest.main_alpha]
    panels = [
        Panel(f"{one.name}: {one.fidelity.spearman:.2f}", one.better.tolist(), one.cheap.tolist())
        for one in shown
    ]
    if panels:
        title = f"{name} of {len(shown[0].cheap)} coalitions; rank correlation"
        scatter_chart(path, title, "retrained", "by the method", panels)
    return bool(panels)


def steps(
    contest: Contest, name: str, found: Sequence[Agreement], judged: Sequence[Judged], path: Path
) -> bool:
    """Draw rank correlations with retraining against the steps of otherwise equal methods.

    They are of utilities, and of credits, where retraining gives some.
    """
    kinds: dict[str, list[Agreement]] = {}
    for one in found:
        if one.alpha == contest.main_alpha and one.steps is not None:
            kind = but_for_steps(contest.distinct_games[one.name].game)
            kinds.setdefault(kind, []).append(one)
    credits = credits_of(contest, judged) if contest.reference != OWN else {}
    series = []
    for members in kinds.values():
        label, ordered = members[0].name, sorted(members, key=lambda one: one.steps or 0)
        series += [
            _utilities_by_steps(label, ordered),
            _credits_by_steps(label, ordered, credits, contest.reference),
        ]
    series = [one for one in series if len(one.x) > 1]
    if series:
        title = f"Agreement with retraining for {name}, alpha={contest.main_alpha:g}"
        curve_chart(path, title, "steps of fine-tuning", "Spearman", series)
    return bool(series)


def _utilities_by_steps(label: str, ordered: Sequence[Agreement]) -> Series:
    agreed = [one.fidelity for one in ordered]
    return Series(
        f"utilities, as {label}",
        [float(one.steps or 0) for one in ordered],
        [one.spearman for one in agreed],
        [one.spearman_low for one in agreed],
        [one.spearman_high for one in agreed],
        published=False,
    )


def _credits_by_steps(
    label: str,
    ordered: Sequence[Agreement],
    credits: Mapping[str, NDArray[np.float64]],
    reference: str,
) -> Series:
    known = [one for one in ordered if {one.name, reference} <= credits.keys()]
    x = [float(one.steps or 0) for one in known]
    y = [spearman(credits[one.name], credits[reference]) for one in known]
    unknown = [math.nan] * len(known)
    return Series(f"credits, as {label}", x, y, unknown, unknown, published=False)


def convergence(contest: Contest, name: str, path: Path) -> bool:
    """Draw the study's own credits, with their intervals, after growing numbers of coalitions."""
    study = contest.reached()[OWN]
    found = [(len(part.sample), estimated(part, name)) for part in parts_of(study)]
    known = [(budget, credits) for budget, credits in found if credits is not None]
    if len(known) < 2:
        return False
    convergence_chart(
        path,
        f"Credit for {name}",
        f"credit [{study.properties[name].unit}]" if study.properties[name].unit else "credit",
        [budget for budget, _ in known],
        study.partition.names,
        np.stack([one.credits for _, one in known]),
        np.stack([one.ci_low for _, one in known]),
        np.stack([one.ci_high for _, one in known]),
    )
    return True


def _score(one: Judged, alpha: float) -> Estimate:
    found = one.scores.get(alpha)
    return UNKNOWN if found is None else Estimate(found.score, found.low, found.high)


def _published_changes(contest: Contest, name: str) -> list[Series]:
    facts = published_facts(contest, name)
    series = []
    for which, end in (("removed", "top"), ("kept", "bottom")):
        for key, by_share in facts.get(which, {}).items():
            removed = {
                100 * (float(share) if which == "removed" else 1 - float(share)): value
                for share, value in by_share.items()
            }
            unknown = [math.nan] * len(removed)
            x, y = sorted(removed), [removed[share] for share in sorted(removed)]
            label = f"{key}, {end} removed, published"
            series.append(Series(label, x, y, unknown, unknown, published=True))
    return series
