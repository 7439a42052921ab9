"""The tables of a comparison, as plain cells."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crediting.agreement import (
    Change,
    DatamodelScore,
    ScoreDifference,
    mean_absolute_error,
    pearson,
    spearman,
)
from crediting.pipeline.compare.agreements import Agreement, Pace
from crediting.pipeline.compare.contest import OWN, Contest
from crediting.pipeline.compare.counterfactuals import Counterfactual
from crediting.pipeline.compare.judged import BudgetPoint, Judged, Trained, clean_credits
from crediting.pipeline.compare.published import Published
from crediting.pipeline.compare.remarks import score_notes, warnings
from crediting.reporting.grid import POINTS, Cell, Column, Estimate, Grid

Columns = list[tuple[Column, Sequence[Cell]]]


def score_grid(
    contest: Contest, name: str, judged: Sequence[Judged], tests: Mapping[float, Trained]
) -> Grid:
    """Return the datamodel scores of everybody for a property, the study's own first."""
    published, main = Published(contest).scores(name), contest.main_alpha
    columns: Columns = [
        (Column("method", ""), [one.contestant.name for one in judged]),
        (Column("kind", ""), [one.contestant.kind for one in judged]),
    ]
    for alpha in contest.tests:
        cells = [with_interval(one.scores.get(alpha)) for one in judged]
        columns.append((Column(f"LDS alpha={alpha:g}", "%"), cells))
    widths = [one.scores[main].paper_half_width if main in one.scores else None for one in judged]
    columns += [
        (Column("paper's interval +-", "%"), widths),
        (Column("own leads by", POINTS), [with_interval(one.own_lead) for one in judged]),
        (Column("hours of work", "h"), [one.contestant.hours for one in judged]),
    ]
    if published:
        cells = [published.get(one.contestant.name) for one in judged]
        columns.append((Column("published", "%"), cells))
    title = f"Linear datamodel score for {name}"
    return Grid.of(title, columns, list(score_notes(contest, judged, tests, name)))


def counterfactual_grid(
    contest: Contest,
    name: str,
    found: Sequence[Counterfactual],
    random: Sequence[Counterfactual],
    judged_by_their_own: Sequence[str],
) -> Grid:
    """Return how a property changes as everybody's top contributors are removed or kept."""
    published = Published(contest)
    facts = published.of(name)
    kinds = list(dict.fromkeys((one.which, one.share) for one in found))
    rows = [one for kind in kinds for one in (*found, *random) if (one.which, one.share) == kind]
    columns: Columns = [
        (Column("contributors", ""), [f"top {100 * one.share:g} % {one.which}" for one in rows]),
        (Column("by", ""), [one.name for one in rows]),
        (Column("contributors left", ""), [one.left for one in rows]),
        (Column("change", "%"), [with_interval(one.change) for one in rows]),
        (Column("beyond random", POINTS), [with_interval(one.beyond_random) for one in rows]),
    ]
    if facts:
        known = [published.change(name, one.which, one.name, one.share) for one in rows]
        columns.append((Column("published", "%"), known))
    better = "falls" if contest.own.properties[name].higher_is_better else "rises"
    notes = [
        f"Change of {name} against the model trained from scratch on everybody's data, paired by "
        f"training seed ({contest.trainings} asked for); intervals of 95 % over seeds, of random "
        "ones over coalitions too.",
        f"The better the credits, the more {name} {better} without the top contributors.",
    ]
    if judged_by_their_own:
        notes.append(
            f"The trainings that judge {', '.join(judged_by_their_own)} are among those that its "
            "credits were estimated from, so luck in them favours it."
        )
    if facts.get("removed_range"):
        notes.append("Published intervals are the ends of the boxes of figure 3, read off by eye.")
    notes += published.remarks("counterfactuals") if facts else []
    return Grid.of(f"Counterfactuals for {name}", columns, notes)


def agreement_grid(contest: Contest, name: str, found: Sequence[Agreement]) -> Grid:
    """Return how well every way of obtaining utilities agrees with retraining."""
    as_drawn = {one.name for one in found if one.alpha is None}
    columns: Columns = [
        (Column("method", ""), [one.name for one in found]),
        (Column("steps", ""), [one.steps for one in found]),
        (Column("alpha", ""), [_alpha(one) for one in found]),
        (Column("coalitions", ""), [one.fidelity.n for one in found]),
        (Column("Spearman", ""), [Estimate(*one.fidelity[:3]) for one in found]),
        (Column("Pearson", ""), [one.fidelity.pearson for one in found]),
        (Column("R2", ""), [one.fidelity.r2 for one in found]),
        (
            Column("mean absolute error", contest.own.properties[name].unit),
            [one.fidelity.mean_absolute_error for one in found],
        ),
    ]
    published = Published(contest)
    # beside coalitions as drawn, if there are any of the method
    theirs = [
        published.agreement(name, one.name) if one.alpha is None or one.name not in as_drawn else {}
        for one in found
    ]
    for key in ("pearson", "mean_absolute_error") if any(theirs) else ():
        heading = Column(f"published {key.replace('_', ' ')}", "")
        columns.append((heading, [known.get(key) for known in theirs]))
    notes = [
        "Utilities of the same coalitions, evaluated once each, against one training from scratch; "
        "R2 is of the best linear prediction.",
        *warnings(contest, found),
    ]
    if as_drawn:
        notes.append(
            "As drawn: of all sizes, as the study's design draws them; size alone explains much of "
            "an agreement then."
        )
    if any(theirs):
        notes.append("Published numbers are of coalitions of all sizes together, as drawn.")
    return Grid.of(f"Agreement with retraining for {name}", columns, notes)


def _alpha(one: Agreement) -> str:
    return "as drawn" if one.alpha is None else f"{one.alpha:g}"


def runtime_grid(contest: Contest, found: Sequence[Pace]) -> Grid:
    """Return what a coalition costs by every method, and how much faster that is."""
    retraining = next((one.seconds for one in found if one.name == "retraining"), math.nan)
    published = Published(contest)
    columns: Columns = [
        (Column("method", ""), [one.name for one in found]),
        (Column("a coalition", "s"), [one.seconds for one in found]),
        (Column("times faster", ""), [retraining / one.seconds for one in found]),
        (Column("coalitions", ""), [one.coalitions or None for one in found]),
        (Column("altogether", "h"), [one.hours or None for one in found]),
    ]
    if published.everything.get("seconds"):
        speedups = [published.speedup(one.name) for one in found]
        columns += [
            (Column("published", "s"), [published.seconds(one.name) for one in found]),
            (Column("published times faster", ""), speedups),
        ]
    notes = [
        "A coalition: training, generating and measuring, mean over what the ledgers hold. "
        "Altogether: what the credits are estimated from, with v(N), v(empty) and replicates."
    ]
    notes += published.remarks("runtime")
    return Grid.of("Cost of a coalition", columns, notes)


def budget_grid(contest: Contest, name: str, curves: Mapping[str, Sequence[BudgetPoint]]) -> Grid:
    """Return the main score of every method after growing numbers of its coalitions."""
    alpha = f"{contest.main_alpha:g}"
    columns = [Column("method", ""), Column("coalitions", ""), Column("hours of work", "h")]
    columns += [Column(f"LDS alpha={alpha}", "%")]
    columns += [Column("mean absolute difference", contest.own.properties[name].unit)]
    columns += [Column("Pearson", "")]
    rows: list[list[Any]] = [
        [key, at.coalitions, at.hours, with_interval(at.score), at.error, at.correlation]
        for key, points in curves.items()
        for at in points
    ]
    published = Published(contest)
    theirs = published.budget(name)
    rows += [
        [f"{key}, published", None, hours, score, None, None]
        for key, points in theirs.items()
        for hours, score in points
    ]
    notes = [
        f"Difference and correlation are of credits with those of {contest.reference} after all of "
        "its coalitions."
    ]
    notes += published.remarks("budget") if theirs else []
    return Grid(f"Datamodel score over the budget for {name}", columns, rows, notes)


def credits_grid(contest: Contest, name: str, judged: Sequence[Judged]) -> Grid:
    """Return how everybody's credits agree with those of retraining, or else the study's own."""
    reference, credits = contest.reference, clean_credits(contest, judged)
    exact = credits.get(reference)
    others = {} if exact is None else {k: (c, exact) for k, c in credits.items() if k != reference}
    columns: Columns = [
        (Column("method", ""), list(others)),
        (Column("Spearman", ""), [spearman(*pair) for pair in others.values()]),
        (Column("Pearson", ""), [pearson(*pair) for pair in others.values()]),
        (
            Column("mean absolute difference", contest.own.properties[name].unit),
            [
                mean_absolute_error(*pair) if key in contest.games else None
                for key, pair in others.items()
            ],
        ),
    ]
    published = Published(contest)
    theirs = [
        None if reference == OWN else published.agreement(name, key).get("pearson_of_credits")
        for key in others
    ]
    if any(known is not None for known in theirs):
        columns.append((Column("published Pearson", ""), theirs))
    return Grid.of(f"Credits for {name} against those of {reference}", columns, [])


def with_interval(found: DatamodelScore | ScoreDifference | Change | None) -> Estimate | None:
    """Return the first number of what was found with its interval."""
    return None if found is None else Estimate(found[0], found.low, found.high)
