"""Writing a comparison: tables as Markdown, LaTeX and CSV, figures, and one page with all of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crediting.ledger import atomic_write_text
from crediting.pipeline.compare import charts, tables
from crediting.pipeline.compare.agreements import agreements, paces, remember
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.compare.contestants import Contestant
from crediting.pipeline.compare.counterfactuals import counterfactuals, judged_by_their_own
from crediting.pipeline.compare.judged import judge, over_budget, trained
from crediting.pipeline.compare.needs import Lack
from crediting.pipeline.compare.published import elsewhere_grid
from crediting.reporting.forecast import humanise_seconds
from crediting.reporting.formats import escape_markdown
from crediting.reporting.grid import Grid, grid_csv, grid_latex, grid_markdown
from crediting.reporting.grid_terminal import print_grid
from crediting.reporting.page import image_markdown

FOLDER = "compare"


def write_comparison(
    contest: Contest, everybody: Sequence[Contestant], lacks: Sequence[Lack]
) -> None:
    """Write all tables and figures under outputs/studies/<name>/compare, and print the main ones.

    `lacks` are the evaluations that are still missing: the page says so.
    """
    folder = contest.own.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    missing = missing_text(lacks)
    parts = [f"# {escape_markdown(contest.own.name)}: credits against retraining", missing]
    if not contest.retrains:
        parts.append(
            f"**Nothing is retrained here**: by compare.truth, {what_judges(contest)} stands for "
            "the training from scratch of which tables and figures speak."
        )
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


def what_judges(contest: Contest) -> str:
    """Return the name of the fine-tuning that stands for retraining."""
    return type(contest.truth.game.finetuning).__name__


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
    tests = trained(contest, name)
    curves = over_budget(contest, judged, name)
    changes, random = counterfactuals(contest, everybody, name)
    agreeing = agreements(contest, name)
    remember(contest, name, agreeing)
    scores = tables.score_grid(contest, name, judged, tests)
    parts = [f"## {escape_markdown(name)}", _table(scores, folder, f"lds_{name}")]
    print_grid(scores)
    figures: list[tuple[str, str, Callable[[Path], bool]]] = [
        ("Datamodel scores", "lds", lambda path: charts.scores(contest, name, judged, path)),
        (
            "Score over the budget",
            "budget",
            lambda path: charts.budget(contest, name, curves, path),
        ),
        (
            "Difference of credits over the budget",
            "error",
            lambda path: charts.errors(contest, name, curves, path),
        ),
        (
            "Counterfactuals",
            "counterfactual",
            lambda path: charts.changes(contest, name, changes, random, path),
        ),
        ("Utilities", "utilities", lambda path: charts.utilities(contest, name, agreeing, path)),
        (
            "Agreement by steps",
            "steps",
            lambda path: charts.steps(contest, name, agreeing, judged, path),
        ),
        ("Convergence", "convergence", lambda path: charts.convergence(contest, name, path)),
    ]
    if changes:
        partial_judges = list(judged_by_their_own(contest, everybody, name))
        grid = tables.counterfactual_grid(contest, name, changes, random, partial_judges)
        parts.append(_table(grid, folder, f"counterfactual_{name}"))
        print_grid(grid)
    if agreeing:
        grid = tables.agreement_grid(contest, name, agreeing)
        parts.append(_table(grid, folder, f"agreement_{name}"))
        print_grid(grid)
    if curves:
        parts.append(_table(tables.budget_grid(contest, name, curves), folder, f"budget_{name}"))
    parts.append(_table(tables.credits_grid(contest, name, judged), folder, f"credits_{name}"))
    for caption, stem, draw in figures:
        path = folder / f"{stem}_{name}.png"
        path.unlink(missing_ok=True)
        if draw(path):
            parts.append(image_markdown(f"{caption} for {name}", path.name))
    return parts


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
