"""Writing what a calibration found: tables, figures and one page."""

import math
from pathlib import Path

from crediting.files import atomic_write_text
from crediting.pipeline.calibrate.judged import Judged
from crediting.pipeline.calibrate.proposal import Found, Tried
from crediting.pipeline.calibrate.remarks import (
    REPEAT,
    proposal_text,
    reading_notes,
    setting_notes,
    variance_notes,
)
from crediting.pipeline.file_names import remove_earlier, write_grid
from crediting.reporting.curves import Series, curve, curve_chart
from crediting.reporting.formats import escape_markdown
from crediting.reporting.grid import Cell, Column, Estimate, Grid
from crediting.reporting.grid_terminal import print_grid
from crediting.reporting.page import image_markdown

FOLDER = "calibrate"


def write_calibration(found: Found) -> None:
    """Write all tables and figures under outputs/studies/<name>/calibrate, and print the tables."""
    study = found.settings.own.study
    folder = study.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    remove_earlier(folder, ("calibrate",), ("settings", "agreement", "variance"))
    proposal = proposal_text(found)
    parts = [f"# {escape_markdown(study.name)}: cheaper settings", proposal]
    for name in study.properties:
        parts.append(f"## {escape_markdown(name)}")
        parts.append(_told(settings_grid(found, name), folder / f"settings_{name}"))
        path = folder / f"agreement_{name}.png"
        if draw_agreement(found, name, path):
            parts.append(image_markdown(f"Agreement against cost for {name}", path.name))
        parts.append(_told(variance_grid(found, name), folder / f"variance_{name}"))
    notes = list(reading_notes(found))
    parts += ["## How to read this", "\n".join(f"- {escape_markdown(note)}" for note in notes)]
    atomic_write_text(folder / "calibrate.md", "\n\n".join(part.strip() for part in parts) + "\n")
    print("\n".join(["", *notes]))
    print(f"\n{proposal}\nEverything is in {folder}")


def _told(grid: Grid, stem: Path) -> str:
    """Print a table, write it and return it as Markdown."""
    print_grid(grid)
    return write_grid(grid, stem, ("md", "csv"))


def settings_grid(found: Found, name: str) -> Grid:
    """Return how every setting agrees with the study's own for a property, and what it costs."""
    unit = found.settings.own.study.properties[name].unit
    columns = [
        Column("setting", ""),
        Column("agrees", ""),
        Column("seconds", "s"),
        Column("times as fast", ""),
        Column("Spearman", ""),
        Column("mean absolute difference", unit),
        Column("credits inside", ""),
        Column("farthest credit", "half widths"),
    ]
    rows: list[list[Cell]] = [
        [REPEAT, "", found.costs.own, 1.0, *_cells(found.repeat.get(name))],
    ]
    for one in found.tried:
        judged = one.judgements[name] if one.judgements else None
        agrees = judged is not None and judged.agrees(found.settings.threshold)
        verdict = "failed" if judged is None else "yes" if agrees else "no"
        faster = one.times_as_fast(found.costs.own)
        rows.append([one.setting.name, verdict, one.seconds, faster, *_cells(judged)])
    title = f"Cheaper settings for {name}"
    return Grid(title, columns, rows, list(setting_notes(found, name)))


def variance_grid(found: Found, name: str) -> Grid:
    """Return the components of the variance of a property's utility."""
    unit = found.settings.own.study.properties[name].unit
    columns = [
        Column("component", ""),
        Column("variance", f"({unit})^2" if unit else ""),
        Column("share", "%"),
        Column("degrees of freedom", ""),
    ]
    parts = found.components[name]
    rows: list[list[Cell]] = []
    for component, share in parts.shares().items():
        part = getattr(parts, component)
        rows.append([component, part.variance, 100 * share, part.degrees])
    return Grid(f"Where {name} varies", columns, rows, list(variance_notes(found, name)))


def _cells(judged: Judged | None) -> list[Cell]:
    if judged is None:
        return [None] * 4
    inside = "unknown" if judged.inside is None else f"{judged.inside} of {judged.of}"
    return [_interval(judged), judged.agreement.difference, inside, judged.farthest]


def draw_agreement(found: Found, name: str, path: Path) -> bool:
    """Draw rank correlations against seconds, a curve for every factor.

    Return whether there was anything to draw.
    """
    kinds: dict[str, list[Tried]] = {}
    for one in found.tried:
        if one.judgements and not math.isnan(one.seconds):
            kinds.setdefault(_kind(one), []).append(one)
    series = [_series(kind, members, name) for kind, members in kinds.items()]
    if not series:
        return False
    again = _interval(found.repeat[name])
    series.append(curve(REPEAT, [(found.costs.own, again)]))
    title = f"Agreement with the study's own setting for {name}"
    curve_chart(path, title, "seconds per coalition and replicate", "Spearman", series)
    return True


def _kind(one: Tried) -> str:
    """Return the factor, or the other sampler, or that several were changed."""
    if len(one.setting.chosen) > 1:
        return "several"
    (choice,) = one.setting.chosen
    return choice.factor if choice.instead is None else choice.overrides[0]


def _series(kind: str, members: list[Tried], name: str) -> Series:
    ordered = sorted(members, key=lambda one: one.seconds)
    judged = [(one.seconds, one.judgements[name]) for one in ordered if one.judgements]
    return curve(kind, [(seconds, _interval(one)) for seconds, one in judged])


def _interval(judged: Judged) -> Estimate:
    """Return the rank correlation of utilities with its interval."""
    return Estimate(*judged.agreement[:3])
