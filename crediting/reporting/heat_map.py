"""A heat map of interactions: who is redundant, and who complements whom, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from crediting.reporting.formats import one_line
from crediting.reporting.style import (
    CHART_INCHES,
    FAINT,
    INK,
    SMALL,
    add_title,
    new_chart,
    save,
    short,
)

if TYPE_CHECKING:
    from crediting.interactions.pairwise import Interactions

Floats = NDArray[np.float64]

MOST_SHOWN = 60
LONGEST_NAME = 24
BELOW, ABOVE = "#B35900", "#00568A"
"""Orange and blue are told apart by colour-blind readers; white between them is zero."""
_NOBODY = "#D9D9D9"
_LOWER = " (lower is better)"


def interaction_chart(
    names: Sequence[str],
    interactions: Interactions,
    property_name: str,
    unit: str,
    higher_is_better: bool,
    path: Path,
) -> None:
    """Draw the interactions of all pairs as a square of colours, white at zero, into a PNG.

    Contributors that interact alike stand side by side. Of many, the 60 with the strongest
    interactions are drawn, and the chart says so. A dot marks an interaction more than two
    standard errors from zero. Where lower is better the colours mean the opposite, which is
    written above them. Equal interactions give equal bytes.

    Raises:
        ValueError: names (n,) and interactions are not of equally many contributors.
    """
    if len(names) != len(interactions.values):
        raise ValueError(
            f"expected the names of {len(interactions.values)} contributors, got {len(names)}"
        )
    shown = _shown(interactions.values)
    values = interactions.values[np.ix_(shown, shown)]
    errors = interactions.std_errors[np.ix_(shown, shown)]
    figure = new_chart(CHART_INCHES, 0.92 * CHART_INCHES)
    axes = figure.add_subplot()
    image = _draw(axes, values, errors)
    _label_contributors(axes, [short(names[player], LONGEST_NAME) for player in shown])
    _label_colours(figure, axes, image, unit)
    add_title(figure, f"{short(property_name, LONGEST_NAME)}: interactions of contributors")
    _add_footer(axes, interactions, errors, len(shown), higher_is_better)
    save(figure, path)


def side_by_side(values: Floats) -> list[int]:
    """Return an order in which those who interact alike are neighbours, for values (n, n).

    The two groups with the least mean distance become one until one is left; the distance of two
    contributors is that of their interactions with all others.
    """
    known = np.nan_to_num(values)
    gaps = known[:, None, :] - known[None, :, :]
    players = np.arange(len(values))
    gaps[players[:, None], players, players] = gaps[players[:, None], players, players[:, None]] = 0
    distances = np.sqrt((gaps**2).sum(axis=2))
    groups = [[player] for player in players.tolist()]
    while len(groups) > 1:
        near, far = min(
            combinations(range(len(groups)), 2),
            key=lambda two: distances[np.ix_(groups[two[0]], groups[two[1]])].mean(),
        )
        groups[near] += groups.pop(far)
    return groups[0]


def _shown(values: Floats) -> NDArray[np.intp]:
    """Return the contributors to draw, in the order of the chart."""
    strength = np.nansum(values**2, axis=1)
    chosen = np.sort(np.argsort(-strength, kind="stable")[:MOST_SHOWN])
    return chosen[side_by_side(values[np.ix_(chosen, chosen)])]


def _draw(axes: Any, values: Floats, errors: Floats) -> Any:
    palette = LinearSegmentedColormap.from_list("interactions", [BELOW, "white", ABOVE])
    colours = palette.with_extremes(bad=_NOBODY)
    limit = float(np.abs(np.nan_to_num(values)).max()) or 1.0
    image = axes.imshow(values, cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
    rows, columns = np.nonzero(_clear(values, errors))
    axes.scatter(columns, rows, s=min(12.0, 240 / len(values)), color=INK, linewidths=0)
    return image


def _clear(values: Floats, errors: Floats) -> NDArray[np.bool_]:
    """Return which interactions are more than two known, positive errors from zero."""
    return (errors > 0) & (np.abs(values) > 2 * errors)


def _label_contributors(axes: Any, names: Sequence[str]) -> None:
    size = min(9.0, 300 / len(names))
    places = range(len(names))
    axes.set_yticks(places, names, fontsize=size, color=INK, parse_math=False)
    axes.set_xticks(places, names, fontsize=size, color=INK, parse_math=False, rotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _label_colours(figure: Any, axes: Any, image: Any, unit: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    label = "interaction" + (f" [{one_line(unit)}]" if unit else "")
    bar.set_label(label, color=INK, parse_math=False)
    bar.outline.set_visible(False)
    bar.formatter.set_powerlimits((-3, 5))


def _add_footer(
    axes: Any, interactions: Interactions, errors: Floats, n_shown: int, higher_is_better: bool
) -> None:
    kind = "exact" if interactions.exact else "estimated"
    lines = [f"Shapley interactions, {kind}, {interactions.n_coalitions:,} coalitions"]
    below, above = ("redundant", "complementary")[:: 1 if higher_is_better else -1]
    lines.append(f"orange: {below}, blue: {above}" + ("" if higher_is_better else _LOWER))
    if np.any(errors > 0):
        lines.append("dots: more than two standard errors from zero")
    if n_shown < len(interactions.values):
        total = len(interactions.values)
        lines.append(f"the {n_shown} of {total:,} contributors with the strongest interactions")
    axes.set_title("\n".join(lines), loc="left", fontsize=SMALL, color=FAINT, parse_math=False)
