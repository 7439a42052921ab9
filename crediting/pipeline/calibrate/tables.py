"""The tables of a calibration, as plain cells."""

from crediting.pipeline.calibrate.found import Found
from crediting.pipeline.calibrate.judged import Judged
from crediting.pipeline.calibrate.proposal import speed_ups
from crediting.pipeline.calibrate.remarks import REPEAT, setting_notes, variance_notes
from crediting.reporting.grid import Cell, Column, Estimate, Grid


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
    faster = speed_ups(found.tried, found.costs.own)
    rows: list[list[Cell]] = [
        [REPEAT, "", found.costs.own, 1.0, *_cells(found.repeat.get(name))],
    ]
    for one in found.tried:
        judged = one.judgements[name] if one.judgements else None
        verdict = "failed" if judged is None else _yes(judged.agrees(found.threshold))
        label = one.setting.name
        rows.append([label, verdict, one.seconds, faster[label], *_cells(judged)])
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
    agreed = judged.agreement
    correlation = Estimate(agreed.spearman, agreed.low, agreed.high)
    return [correlation, agreed.difference, inside, judged.farthest]


def _yes(agrees: bool) -> str:
    return "yes" if agrees else "no"
