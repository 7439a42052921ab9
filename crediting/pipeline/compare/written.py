"""Writing a comparison: tables as Markdown, LaTeX and CSV, figures, and one page with all of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from crediting.ledger import atomic_write_text
from crediting.pipeline.compare import charts, tables
from crediting.pipeline.compare.agreements import Agreement, agreements, paces, remember
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.compare.contestants import Contestant
from crediting.pipeline.compare.counterfactuals import (
    Counterfactual,
    counterfactuals,
    judged_by_their_own,
)
from crediting.pipeline.compare.judged import (
    BudgetPoint,
    Judged,
    judge,
    over_budget,
    trained,
)
from crediting.pipeline.compare.needs import Lack
from crediting.pipeline.compare.published import elsewhere_grid
from crediting.reporting.forecast import humanise_seconds
from crediting.reporting.formats import escape_markdown
from crediting.reporting.grid import Grid, grid_csv, grid_latex, grid_markdown
from crediting.reporting.grid_terminal import print_grid
from crediting.reporting.page import image_markdown

FOLDER = "compare"
_OF_ALL = ("runtime", "published", "compare")
_OF_A_PROPERTY = (
    *("lds", "counterfactual", "agreement", "budget", "credits"),
    *("error", "utilities", "steps", "convergence"),
)
"""What files are called after, the latter with an underscore and the name of the property."""
_ENDINGS = (".csv", ".md", ".tex", ".png")


def write_comparison(
    contest: Contest, everybody: Sequence[Contestant], lacks: Sequence[Lack]
) -> None:
    """Write all tables and figures under outputs/studies/<name>/compare, and print the main ones.

    `lacks` are the evaluations that are still missing: the page says so.
    """
    folder = contest.own.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _remove_earlier(folder)
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
    pace = list(paces(contest))
    cost = tables.runtime_grid(contest, pace)
    parts.append(_table(cost, folder, "runtime"))
    print_grid(cost)
    besides = elsewhere_grid(contest, everybody)
    if besides is not None:
        parts.append(_table(besides, folder, "published"))
    atomic_write_text(folder / "compare.md", "\n\n".join(part.strip() for part in parts) + "\n")
    print(f"\n{missing}\nEverything is in {folder}")


def _remove_earlier(folder: Path) -> None:
    """Remove the tables and figures of an earlier comparison, which may have been another."""
    for path in folder.iterdir():
        ours = path.stem in _OF_ALL or path.stem.partition("_")[0] in _OF_A_PROPERTY
        if ours and path.suffix in _ENDINGS:
            path.unlink()


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


class Found(NamedTuple):
    """What was found of a property.

    Scores, scores over the budget, changes without some contributors and by chance, and utilities
    against those of retraining.
    """

    judged: list[Judged]
    curves: dict[str, list[BudgetPoint]]
    changes: list[Counterfactual]
    random: list[Counterfactual]
    agreeing: list[Agreement]


def _property(
    contest: Contest, everybody: Sequence[Contestant], name: str, folder: Path
) -> list[str]:
    """Write the tables and figures of a property and return their parts of the page."""
    found = Found(
        judged := judge(contest, everybody, name),
        over_budget(contest, judged, name),
        *counterfactuals(contest, everybody, name),
        agreements(contest, name),
    )
    remember(contest, name, found.agreeing)
    parts = [f"## {escape_markdown(name)}"]
    for stem, grid, is_printed in _grids(contest, everybody, name, found):
        parts.append(_table(grid, folder, f"{stem}_{name}"))
        if is_printed:
            print_grid(grid)
    for caption, stem, draw in _figures(contest, name, found):
        path = folder / f"{stem}_{name}.png"
        if draw(path):
            parts.append(image_markdown(f"{caption} for {name}", path.name))
    return parts


def _grids(
    contest: Contest, everybody: Sequence[Contestant], name: str, found: Found
) -> Iterator[tuple[str, Grid, bool]]:
    """Yield the tables of a property: what files are called after, and whether it is printed."""
    yield "lds", tables.score_grid(contest, name, found.judged, trained(contest, name)), True
    if found.changes:
        own = list(judged_by_their_own(contest, everybody, name))
        grid = tables.counterfactual_grid(contest, name, found.changes, found.random, own)
        yield "counterfactual", grid, True
    if found.agreeing:
        yield "agreement", tables.agreement_grid(contest, name, found.agreeing), True
    if found.curves:
        yield "budget", tables.budget_grid(contest, name, found.curves), False
    yield "credits", tables.credits_grid(contest, name, found.judged), False


def _figures(
    contest: Contest, name: str, found: Found
) -> Iterator[tuple[str, str, Callable[[Path], bool]]]:
    """Yield the figures of a property: caption, what the file is called after, what draws it.

    A figure that has nothing to show is not drawn, which is what drawing it returns.
    """
    judged, curves, changes, random, agreeing = found
    yield "Datamodel scores", "lds", partial(charts.scores, contest, name, judged)
    yield "Score over the budget", "budget", partial(charts.budget, contest, name, curves)
    label = "Difference of credits over the budget"
    yield label, "error", partial(charts.errors, contest, name, curves)
    draw_changes = partial(charts.changes, contest, name, changes, random)
    yield "Counterfactuals", "counterfactual", draw_changes
    yield "Utilities", "utilities", partial(charts.utilities, contest, name, agreeing)
    yield "Agreement by steps", "steps", partial(charts.steps, contest, name, agreeing, judged)
    yield "Convergence", "convergence", partial(charts.convergence, contest, name)


def _table(grid: Grid, folder: Path, stem: str) -> str:
    """Write a table in three formats and return it as Markdown."""
    texts: Mapping[str, str] = {
        "md": grid_markdown(grid),
        "tex": grid_latex(grid),
        "csv": grid_csv(grid),
    }
    for ending, text in texts.items():
        atomic_write_text(folder / f"{stem}.{ending}", text)
    return texts["md"]
