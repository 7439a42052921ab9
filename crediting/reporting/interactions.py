"""Interactions of contributors as CSV for machines and as Markdown for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from crediting.reporting.formats import csv_text, escape_markdown, rounded

if TYPE_CHECKING:
    from crediting.interactions.pairwise import Interactions

STRONGEST = 10
"""Pairs of either kind that people are shown."""


class InteractionRow(NamedTuple):
    """Two contributors, the first one ahead in player order, and their interaction."""

    contributor_1: str
    contributor_2: str
    interaction: float
    std_error: float


def interactions_csv(names: Sequence[str], interactions: Interactions) -> str:
    """Return all pairs in player order at full precision; an unknown number is an empty field.

    Raises:
        ValueError: names (n,) and interactions are not of equally many contributors.
    """
    return csv_text(InteractionRow._fields, _rows(names, interactions))


def interactions_markdown(
    names: Sequence[str], interactions: Interactions, unit: str, higher_is_better: bool
) -> str:
    """Return how to read interactions, and the 10 most redundant and most complementary pairs.

    Raises:
        ValueError: names (n,) and interactions are not of equally many contributors.
    """
    rows = sorted(_rows(names, interactions), key=lambda row: row.interaction)
    below = [row for row in rows if row.interaction < 0]
    above = [row for row in reversed(rows) if row.interaction > 0]
    redundant, complementary = (below, above) if higher_is_better else (above, below)
    parts = [
        how_to_read(higher_is_better),
        _basis(interactions),
        *_table("redundant", redundant, unit),
        *_table("complementary", complementary, unit),
    ]
    return "\n\n".join(parts) + "\n"


def how_to_read(higher_is_better: bool) -> str:
    """Return a sentence that says what the sign of an interaction means."""
    begin, redundant, complementary = (
        ("A", "negative", "positive")
        if higher_is_better
        else ("Lower is better, which turns the signs round: a", "positive", "negative")
    )
    return (
        f"{begin} {redundant} interaction says that two contributors are redundant, together they "
        f"improve the property less than one by one; a {complementary} one says that they "
        "complement each other, together they improve it more."
    )


def _basis(interactions: Interactions) -> str:
    count = f"{interactions.n_coalitions:,} coalitions"
    if interactions.exact:
        return f"Shapley interactions, exact: all {count} were evaluated."
    return (
        f"Shapley interactions, estimated from {count}: of those within two standard errors of "
        "zero even the sign is open."
    )


def _rows(names: Sequence[str], interactions: Interactions) -> list[InteractionRow]:
    n = len(interactions.values)
    if len(names) != n:
        raise ValueError(f"expected the names of {n} contributors, got {len(names)}")
    return [
        InteractionRow(
            names[i],
            names[j],
            float(interactions.values[i, j]),
            float(interactions.std_errors[i, j]),
        )
        for i, j in combinations(range(n), 2)
    ]


def _table(kind: str, rows: Sequence[InteractionRow], unit: str) -> list[str]:
    """Return a heading and a pipe table of the first pairs."""
    if not rows:
        return [f"No pair is {kind}."]
    shown = rows[:STRONGEST]
    title = f"The most {kind} of {len(rows):,} {kind} pairs:"
    if len(rows) == 1:
        title = f"The only {kind} pair:"
    label = escape_markdown(f"interaction [{unit}]" if unit else "interaction")
    lines = [f"| contributors | and | {label} | standard error |", "|---|---|---:|---:|"]
    for first, second, *numbers in shown:
        told = (rounded(number, ".4g") for number in numbers)
        cells = [escape_markdown(first), escape_markdown(second), *told]
        lines.append(f"| {' | '.join(cells)} |")
    return [title, "\n".join(lines)]
