"""Writing a comparison: tables as Markdown, LaTeX and CSV, figures, and one page with all of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crediting.files import atomic_write_text
from crediting.pipeline.compare import charts, tables
from crediting.pipeline.compare.agreements import agreements, paces, remember
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.compare.contestants import Contestant
from crediting.pipeline.compare.counterfactuals import counterfactuals, judged_by_their_own
from crediting.pipeline.compare.judged import judge, over_budget, trained
from crediting.pipeline.compare.needs import Lack
from crediting.pipeline.compare.published import elsewhere_grid
from crediting.pipeline.file_names import remove_earlier, write_grid
from crediting.reporting.forecast import humanise_seconds
from crediting.reporting.formats import escape_markdown
from crediting.reporting.grid_terminal import print_grid
from crediting.reporting.page import image_markdown

FOLDER = "compare"
_OF_ALL = ("runtime", "published", "compare")
_OF_A_PROPERTY = (
    *("lds", "counterfactual", "agreement", "budget", "credits"),
    *("error", "utilities", "steps", "convergence"),
)
"""What files are called after, the latter with an underscore and the name of the property."""
_FORMATS = ("md", "tex", "csv")
_PRINTED = ("lds", "counterfactual", "agreement")


def write_comparison(
    contest: Contest, everybody: Sequence[Contestant], lacks: Sequence[Lack]
) -> None:
    """Write all tables and figures under outputs/studies/<name>/compare, and print the main ones.

    `lacks` are the evaluations that are still missing: the page says so.
    """
    folder = contest.own.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    remove_earlier(folder, _OF_ALL, _OF_A_PROPERTY)
    missing = missing_text(lacks)
    parts = [f"# {escape_markdown(contest.own.name)}: credits against retraining", missing]
    if not contest.retrains:
        judge_of_all = type(contest.truth.game.finetuning).__name__
        said = (
            f"Nothing is retrained here: by compare.truth, {judge_of_all} stands for the "
            "training from scratch of which tables and figures speak."
        )
        parts.append(f"**{said}**")
        print(said)
    for name in contest.own.properties:
        parts += _property(contest, everybody, name, folder)
    cost = tables.runtime_grid(contest, list(paces(contest)))
    parts.append(write_grid(cost, folder / "runtime", _FORMATS))
    print_grid(cost)
    besides = elsewhere_grid(contest, everybody)
    if besides is not None:
        parts.append(write_grid(besides, folder / "published", _FORMATS))
    atomic_write_text(folder / "compare.md", "\n\n".join(part.strip() for part in parts) + "\n")
    print(f"\n{missing}\nEverything is in {folder}")


def missing_text(lacks: Sequence[Lack]) -> str:
    """Say which evaluations are missing and what they would cost, a line each, or that none is."""
    if not lacks:
        return "Nothing is missing: everything that was asked for is evaluated."
    lines = [
        f"- {one.purpose}: {one.missing} {one.what}"
        + (", " + humanise_seconds(3600 * one.hours) + " of work" if one.hours else "")
        for one in lacks
    ]
    known = [one.hours for one in lacks if one.hours is not None]
    total = f"Altogether {humanise_seconds(3600 * sum(known))} of work"
    if not known:
        total = "The time is unknown until one of each has been evaluated"
    elif len(known) < len(lacks):
        total += ", plus those of unknown duration"
    return "\n".join(["Still missing:", "", *lines, "", f"{total}."])


def _property(
    contest: Contest, everybody: Sequence[Contestant], name: str, folder: Path
) -> list[str]:
    """Write the tables and figures of a property and return their parts of the page."""
    judged = judge(contest, everybody, name)
    curves = over_budget(contest, judged, name)
    changes, random = counterfactuals(contest, everybody, name)
    agreeing = agreements(contest, name)
    remember(contest, name, agreeing)
    grids = {"lds": tables.score_grid(contest, name, judged, trained(contest, name))}
    if changes:
        own = list(judged_by_their_own(contest, everybody, name))
        grids["counterfactual"] = tables.counterfactual_grid(contest, name, changes, random, own)
    if agreeing:
        grids["agreement"] = tables.agreement_grid(contest, name, agreeing)
    if curves:
        grids["budget"] = tables.budget_grid(contest, name, curves)
    grids["credits"] = tables.credits_grid(contest, name, judged)
    parts = [f"## {escape_markdown(name)}"]
    for stem, grid in grids.items():
        parts.append(write_grid(grid, folder / f"{stem}_{name}", _FORMATS))
        if stem in _PRINTED:
            print_grid(grid)
    figures: list[tuple[str, str, Callable[..., bool], tuple[Any, ...]]] = [
        ("Datamodel scores", "lds", charts.scores, (judged,)),
        ("Score over the budget", "budget", charts.budget, (curves,)),
        ("Difference of credits over the budget", "error", charts.errors, (curves,)),
        ("Counterfactuals", "counterfactual", charts.changes, (changes, random)),
        ("Utilities", "utilities", charts.utilities, (agreeing,)),
        ("Agreement by steps", "steps", charts.steps, (agreeing, judged)),
        ("Convergence", "convergence", charts.convergence, ()),
    ]
    for caption, stem, draw, shown in figures:
        path = folder / f"{stem}_{name}.png"
        if draw(contest, name, *shown, path):
            parts.append(image_markdown(f"{caption} for {name}", path.name))
    return parts
