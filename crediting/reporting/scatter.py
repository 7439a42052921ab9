"""Clouds of points side by side, to see how well two ways of measuring agree."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crediting.reporting.formats import one_line
from crediting.reporting.style import (
    BLUE,
    FAINT,
    INK,
    RULE,
    SMALL,
    add_title,
    new_chart,
    save,
)

MOST_PER_ROW = 4
_PANEL_INCHES = 2.0
_WIDEST_TITLE = 24
_LINE: dict[str, Any] = {"color": FAINT, "linestyle": (0, (4, 3)), "linewidth": 1}


class Panel(NamedTuple):
    """A titled cloud of points x (n,), y (n,); those with a NaN are left out."""

    title: str
    x: Sequence[float]
    y: Sequence[float]


def scatter_chart(
    path: Path, title: str, x_label: str, y_label: str, panels: Sequence[Panel]
) -> None:
    """Draw panels of points, up to four in a row, each with its line of equal values, as a PNG.

    The line spans what the ranges of x and y share, and is missing if they share nothing. Equal
    inputs give equal bytes.

    Raises:
        ValueError: there is no panel, or one has not as many x as y.
    """
    if not panels:
        raise ValueError("expected at least one panel of points, got none")
    columns = min(len(panels), MOST_PER_ROW)
    rows = -(-len(panels) // columns)
    width = max(2.2 * _PANEL_INCHES, 0.4 + _PANEL_INCHES * columns)
    figure = new_chart(width, 1.1 + (_PANEL_INCHES + 0.1) * rows)
    lines = [
        _draw(figure.add_subplot(rows, columns, place + 1), panel)
        for place, panel in enumerate(panels)
    ]
    below = _wrapped(x_label, width) + ("\ndashed: equal values" if any(lines) else "")
    figure.supxlabel(below, fontsize=9, color=INK, parse_math=False)
    beside = _wrapped(y_label, _PANEL_INCHES * rows)
    figure.supylabel(beside, fontsize=9, color=INK, parse_math=False)
    add_title(figure, title)
    save(figure, path)


def _wrapped(label: str, inches: float) -> str:
    return textwrap.fill(one_line(label), int(12 * inches))


def _draw(axes: Any, panel: Panel) -> bool:
    """Draw a panel, and return whether it has a line of equal values."""
    x, y = _known(panel)
    title = textwrap.fill(one_line(panel.title), _WIDEST_TITLE, max_lines=2, placeholder="…")
    axes.set_title(title, fontsize=9, color=INK, parse_math=False)
    axes.tick_params(length=0, labelsize=7)
    axes.spines[:].set_color(RULE)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    if not len(x):
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, ha="center", color=FAINT)
        return False
    size = float(np.clip(400 / len(x), 4, 16))
    axes.scatter(x, y, s=size, color=BLUE, alpha=0.6, linewidths=0, zorder=3)
    axes.locator_params(nbins=4)
    axes.ticklabel_format(scilimits=(-3, 5))
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set_fontsize(SMALL - 1)
    low, high = max(x.min(), y.min()), min(x.max(), y.max())
    if low < high:
        axes.plot([low, high], [low, high], zorder=2, **_LINE)
    return bool(low < high)


def _known(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(panel.x, dtype=float), np.asarray(panel.y, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"{panel.title}: expected as many x as y, got {x.shape} and {y.shape}")
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]
