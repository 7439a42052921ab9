"""The figures of a comparison; each returns whether there was anything to draw."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crediting.agreement import spearman
from crediting.pipeline.compare.agreements import Agreement
from crediting.pipeline.compare.contest import OWN, Contest, but_for_steps
from crediting.pipeline.compare.contestants import estimated
from crediting.pipeline.compare.counterfactuals import KEPT, RANDOM, REMOVED, Counterfactual
from crediting.pipeline.compare.judged import BudgetPoint, Judged, clean_credits, parts_of
from crediting.pipeline.compare.published import Published
from crediting.pipeline.compare.tables import with_interval
from crediting.reporting.bars import score_bars
from crediting.reporting.curves import Series, convergence_chart, curve, curve_chart
from crediting.reporting.grid import Column, Estimate
from crediting.reporting.scatter import Panel, scatter_chart

UNKNOWN = Estimate(math.nan, math.nan, math.nan)
_END = {REMOVED: "top", KEPT: "bottom"}
"""Who is left out."""


def scores(contest: Contest, name: str, judged: Sequence[Judged], path: Path) -> bool:
    """Draw everybody's datamodel scores as bars, the best at the main size first."""
    main = contest.main_alpha
    known = [one for one in judged if one.scores]
    known.sort(key=lambda one: -one.scores[main].score if main in one.scores else math.inf)
    if not known:
        return False
    groups = {
        f"alpha={alpha:g}": {
            one.contestant.name: with_interval(one.scores.get(alpha)) or UNKNOWN for one in known
        }
        for alpha in sorted(contest.tests)
        if any(alpha in one.scores for one in known)
    }
    published = Published(contest).scores(name)
    score_bars(path, f"Datamodel score for {name}", "LDS [%]", groups, published, OWN)
    return True


def budget(
    contest: Contest, name: str, curves: Mapping[str, Sequence[BudgetPoint]], path: Path
) -> bool:
    """Draw the main score of every method against the hours of work that it took."""
    series = [
        curve(key, [(point.hours, with_interval(point.score)) for point in points])
        for key, points in curves.items()
    ]
    series += [
        curve(f"{key}, published", points, published=True)
        for key, points in Published(contest).budget(name).items()
    ]
    title = f"Datamodel score for {name}, alpha={contest.main_alpha:g}"
    return _drawn(path, title, "hours of work", "LDS [%]", series)


def errors(
    contest: Contest, name: str, curves: Mapping[str, Sequence[BudgetPoint]], path: Path
) -> bool:
    """Draw how far the credits of every method are from the reference's, against hours of work."""
    series = []
    for key, points in curves.items():
        known = [(point.hours, _alone(point.error)) for point in points if point.error is not None]
        if len(known) > 1:
            series.append(curve(key, known))
    title = f"Credits for {name} against those of {contest.reference}"
    label = Column("mean absolute difference", contest.own.properties[name].unit).heading
    return _drawn(path, title, "hours of work", label, series)


def changes(
    contest: Contest,
    name: str,
    found: Sequence[Counterfactual],
    random: Sequence[Counterfactual],
    path: Path,
) -> bool:
    """Draw how the property changes against the share removed: top ones below, bottom ones above.

    Keeping the top 60 % is removing the bottom 40 %; of ten contributors, 95 % and 90 % are alike.
    """
    labels = [f"{one.name}, {_END[one.which]} removed" for one in found]
    labels += [RANDOM] * len(random)  # which is the same from either end
    curves: dict[str, dict[float, Estimate]] = {}
    for label, one in zip(labels, [*found, *random], strict=True):
        if (change := with_interval(one.change)) is not None:
            removed = 1 - one.left / len(contest.own.partition)
            curves.setdefault(label, {})[100 * removed] = change
    series = [curve(label, sorted(points.items())) for label, points in curves.items()]
    series += _published_changes(contest, name)
    title = f"{name} without the contributors credited most, or least"
    return _drawn(path, title, "contributors removed [%]", f"change of {name} [%]", series)


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
    credits = clean_credits(contest, judged)
    exact = credits.get(contest.reference) if contest.reference != OWN else None
    series = []
    for members in kinds.values():
        ordered = sorted(members, key=lambda one: one.steps or 0)
        utilities = [(float(one.steps or 0), Estimate(*one.fidelity[:3])) for one in ordered]
        series.append(curve(f"utilities, as {members[0].name}", utilities))
        points = [
            (float(one.steps or 0), _alone(spearman(credits[one.name], exact)))
            for one in ordered
            if exact is not None and one.name in credits
        ]
        series.append(curve(f"credits, as {members[0].name}", points))
    series = [one for one in series if len(one.x) > 1]
    title = f"Agreement with retraining for {name}, alpha={contest.main_alpha:g}"
    return _drawn(path, title, "steps of fine-tuning", "Spearman", series)


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
        Column("credit", study.properties[name].unit).heading,
        [budget for budget, _ in known],
        study.partition.names,
        np.stack([one.credits for _, one in known]),
        np.stack([one.ci_low for _, one in known]),
        np.stack([one.ci_high for _, one in known]),
    )
    return True


def _drawn(path: Path, title: str, x_label: str, y_label: str, series: Sequence[Series]) -> bool:
    if series:
        curve_chart(path, title, x_label, y_label, series)
    return bool(series)


def _alone(value: float) -> Estimate:
    return UNKNOWN._replace(value=value)


def _published_changes(contest: Contest, name: str) -> list[Series]:
    facts = Published(contest).of(name)
    series = []
    for which, end in _END.items():
        for key, by_share in facts.get(which, {}).items():
            removed = {
                100 * (float(share) if which == REMOVED else 1 - float(share)): _alone(value)
                for share, value in by_share.items()
            }
            label = f"{key}, {end} removed, published"
            series.append(curve(label, sorted(removed.items()), published=True))
    return series
