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
from crediting.pipeline.compare.judged import BudgetPoint, Judged, Trained, credits_of
from crediting.pipeline.compare.published import (
    published_agreement,
    published_budget,
    published_change,
    published_estimates,
    published_facts,
    published_remarks,
    published_seconds,
    published_speedup,
)
from crediting.pipeline.compare.remarks import score_notes, warnings
from crediting.reporting.grid import POINTS, Column, Estimate, Grid


def score_grid(
    contest: Contest, name: str, judged: Sequence[Judged], tests: Mapping[float, Trained]
) -> Grid:
    """Return the datamodel scores of everybody for a property, the study's own first."""
    published = published_estimates(contest, name)
    main = contest.main_alpha
    alphas = list(contest.tests)
    columns = [Column("method", ""), Column("kind", "")]
    columns += [Column(f"LDS alpha={alpha:g}", "%") for alpha in alphas]
    columns += [Column("paper's interval +-", "%"), Column("own leads by", POINTS)]
    columns += [Column("hours of work", "h")]
    columns += [Column("published", "%")] if published else []
    rows = []
    for one in judged:
        row: list[Any] = [one.contestant.name, one.contestant.kind]
        row += [estimate(one.scores.get(alpha)) for alpha in alphas]
        row += [one.scores[main].paper_half_width if main in one.scores else None]
        row += [estimate(one.own_lead), one.contestant.hours]
        row += [published.get(one.contestant.name)] if published else []
        rows.append(row)
    title = f"Linear datamodel score for {name}"
    return Grid(title, columns, rows, list(score_notes(contest, judged, tests, name)))


def counterfactual_grid(
    contest: Contest,
    name: str,
    found: Sequence[Counterfactual],
    random: Sequence[Counterfactual],
    judged_by_their_own: Sequence[str],
) -> Grid:
    """Return how a property changes as everybody's top contributors are removed or kept."""
    published = published_facts(contest, name)
    columns = [
        Column("contributors", ""),
        Column("by", ""),
        Column("contributors left", ""),
        Column("change", "%"),
        Column("beyond random", POINTS),
    ]
    columns += [Column("published", "%")] if published else []
    rows: list[list[Any]] = []
    for which, share in dict.fromkeys((one.which, one.share) for one in found):
        label = f"top {100 * share:g} % {which}"
        for one in (*found, *random):
            if (one.which, one.share) == (which, share):
                cells = [
                    label,
                    one.name,
                    one.left,
                    estimate(one.change),
                    estimate(one.beyond_random),
                ]
                known = published_change(contest, name, which, one.name, share)
                rows.append([*cells, *([known] if published else [])])
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
    if published.get("removed_range"):
        notes.append("Published intervals are the ends of the boxes of figure 3, read off by eye.")
    notes += published_remarks(contest, "counterfactuals") if published else []
    return Grid(f"Counterfactuals for {name}", columns, rows, notes)


def agreement_grid(contest: Contest, name: str, found: Sequence[Agreement]) -> Grid:
    """Return how well every way of obtaining utilities agrees with retraining."""
    columns = [
        Column("method", ""),
        Column("steps", ""),
        Column("alpha", ""),
        Column("coalitions", ""),
        Column("Spearman", ""),
        Column("Pearson", ""),
        Column("R2", ""),
        Column("mean absolute error", contest.own.properties[name].unit),
    ]
    published = {
        one.name: known for one in found if (known := published_agreement(contest, name, one.name))
    }
    theirs = ["pearson", "mean_absolute_error"] if published else []
    as_drawn = {one.name for one in found if one.alpha is None}

    def beside(one: Agreement) -> bool:
        """Whether published numbers stand there: beside coalitions as drawn, if there are any."""
        return one.alpha is None or one.name not in as_drawn

    columns += [Column(f"published {key.replace('_', ' ')}", "") for key in theirs]
    rows: list[list[Any]] = [
        [
            one.name,
            one.steps,
            "as drawn" if one.alpha is None else f"{one.alpha:g}",
            one.fidelity.n,
            Estimate(one.fidelity.spearman, one.fidelity.spearman_low, one.fidelity.spearman_high),
            one.fidelity.pearson,
            one.fidelity.r2,
            one.fidelity.mean_absolute_error,
            *(published.get(one.name, {}).get(key) if beside(one) else None for key in theirs),
        ]
        for one in found
    ]
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
    if published:
        notes.append("Published numbers are of coalitions of all sizes together, as drawn.")
    return Grid(f"Agreement with retraining for {name}", columns, rows, notes)


def runtime_grid(contest: Contest, found: Sequence[Pace]) -> Grid:
    """Return what a coalition costs by every method, and how much faster that is."""
    retraining = next((one.seconds for one in found if one.name == "retraining"), math.nan)
    published = contest.settings["published"].get("seconds", {})
    columns = [
        Column("method", ""),
        Column("a coalition", "s"),
        Column("times faster", ""),
        Column("coalitions", ""),
        Column("altogether", "h"),
    ]
    columns += [Column("published", "s"), Column("published times faster", "")] if published else []
    rows: list[list[Any]] = []
    for one in found:
        cells: list[Any] = [one.name, one.seconds, retraining / one.seconds]
        cells += [one.coalitions or None, one.hours or None]
        if published:
            cells += [published_seconds(contest, one.name), published_speedup(contest, one.name)]
        rows.append(cells)
    notes = [
        "A coalition: training, generating and measuring, mean over what the ledgers hold. "
        "Altogether: what the credits are estimated from, with v(N), v(empty) and replicates."
    ]
    notes += published_remarks(contest, "runtime")
    return Grid("Cost of a coalition", columns, rows, notes)


def budget_grid(contest: Contest, name: str, curves: Mapping[str, Sequence[BudgetPoint]]) -> Grid:
    """Return the main score of every method after growing numbers of its coalitions."""
    alpha = f"{contest.main_alpha:g}"
    columns = [Column("method", ""), Column("coalitions", ""), Column("hours of work", "h")]
    columns += [Column(f"LDS alpha={alpha}", "%")]
    columns += [Column("mean absolute difference", contest.own.properties[name].unit)]
    columns += [Column("Pearson", "")]
    rows: list[list[Any]] = [
        [key, point.coalitions, point.hours, estimate(point.score), point.error, point.correlation]
        for key, points in curves.items()
        for point in points
    ]
    published = published_budget(contest, name)
    rows += [
        [f"{key}, published", None, hours, score, None, None]
        for key, points in published.items()
        for hours, score in points
    ]
    notes = [
        f"Difference and correlation are of credits with those of {contest.reference} after all of "
        "its coalitions."
    ]
    notes += published_remarks(contest, "budget") if published else []
    return Grid(f"Datamodel score over the budget for {name}", columns, rows, notes)


def credits_grid(contest: Contest, name: str, judged: Sequence[Judged]) -> Grid:
    """Return how everybody's credits agree with those of retraining, or else the study's own."""
    reference, credits = contest.reference, credits_of(contest, judged)
    columns = [Column("method", ""), Column("Spearman", ""), Column("Pearson", "")]
    columns += [Column("mean absolute difference", contest.own.properties[name].unit)]
    published = {
        key: agreed["pearson_of_credits"]
        for key in credits
        if reference != OWN and (agreed := published_agreement(contest, name, key))
    }
    columns += [Column("published Pearson", "")] if published else []
    rows: list[list[Any]] = []
    for key, theirs in credits.items():
        if reference in credits and key != reference:
            pair = theirs, credits[reference]
            gap = mean_absolute_error(*pair) if key in contest.games else None
            cells = [key, spearman(*pair), pearson(*pair), gap]
            rows.append([*cells, *([published.get(key)] if published else [])])
    return Grid(f"Credits for {name} against those of {reference}", columns, rows, [])


def estimate(found: DatamodelScore | ScoreDifference | Change | None) -> Estimate | None:
    """Return the first number of what was found with its interval."""
    return None if found is None else Estimate(found[0], found.low, found.high)
