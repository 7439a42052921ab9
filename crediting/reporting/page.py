"""The report: one Markdown page for a study."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from crediting.reporting.forecast import humanise_seconds
from crediting.reporting.formats import escape_markdown, to_markdown
from crediting.reporting.grid import Grid, grid_markdown
from crediting.reporting.table import CreditTable


def report_markdown(
    title: str,
    tables: Sequence[CreditTable],
    payout: Grid | None,
    interactions: Mapping[str, str],
    figures: Mapping[str, str],
    forecast: str,
    fingerprints: Mapping[str, str],
    versions: Mapping[str, str],
    seconds: Mapping[str, float],
) -> str:
    """Return the page; a part that is empty leaves no trace.

    Args:
        title: of the study.
        tables: credits, one per property.
        payout: who gets what, if money is shared out.
        interactions: Markdown by property.
        figures: paths relative to the page by caption.
        forecast: what more certainty would cost.
        fingerprints: by stage.
        versions: by package.
        seconds: that were spent, by stage.
    """
    parts = [f"# {escape_markdown(title)}"]
    parts += [
        f"## Credit for {escape_markdown(t.property_name)}\n\n{to_markdown(t)}" for t in tables
    ]
    if payout:
        parts.append(f"## Payout\n\n{grid_markdown(replace(payout, title=''))}")
    parts += [
        f"## Interactions in {escape_markdown(name)}\n\n{text}"
        for name, text in interactions.items()
    ]
    if figures:
        links = [image_markdown(caption, path) for caption, path in figures.items()]
        parts.append("\n\n".join(["## Figures", *links]))
    if forecast:
        parts.append(f"## More certainty\n\n{escape_markdown(forecast)}")
    durations = {stage: humanise_seconds(spent) for stage, spent in seconds.items()}
    parts.append("## Provenance")
    parts += [
        _facts("stage", "fingerprint", fingerprints),
        _facts("stage", "duration", durations),
        _facts("package", "version", versions),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def image_markdown(caption: str, path: str) -> str:
    """Return a picture with its caption; the path is relative to the page."""
    return f"![{escape_markdown(caption)}]({quote(path)})\n\n*{escape_markdown(caption)}*"


def _facts(key: str, value: str, facts: Mapping[str, str]) -> str:
    if not facts:
        return ""
    rows = [f"| {escape_markdown(k)} | {escape_markdown(v)} |" for k, v in facts.items()]
    return "\n".join([f"| {key} | {value} |", "| --- | --- |", *rows])
