"""Charts of curves with bands: how scores grow, and how credits settle, with the effort."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from crediting.reporting.formats import one_line
from crediting.reporting.grid import Estimate
from crediting.reporting.style import (
    CHART_INCHES,
    FAINT,
    INK,
    MARKERS,
    PALETTE,
    SMALL,
    add_legend,
    add_title,
    label_axes,
    new_chart,
    save,
    short,
    spread,
    tidy,
)

MOST_LABELLED = 10
_CURVES_HEIGHT, _CONVERGENCE_HEIGHT = 3.8, 4.4
_LABEL_GAP = 0.05
"""Least distance between the labels of two curves, as a part of the height of the axes."""
_LONGEST_LABEL, _WIDEST_LABEL = 24, 28
_LOG_FROM = 8
"""A positive x axis is logarithmic if its largest value is so many times its smallest."""
_MOST_TICKS, _APART = 8, 1.4

Floats = NDArray[np.float64]

_PUBLISHED = (0, (4, 2))
_OURS = ("solid", (0, (6, 1, 1, 1)), (0, (1, 1)))
"""Lines of the first curves, and of those that have their colours again."""


class Series(NamedTuple):
    """A labelled curve y over x, both (n,); its band from low to high is open where one is NaN."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    published: bool


def curve(
    label: str, points: Iterable[tuple[float, Estimate | None]], published: bool = False
) -> Series:
    """Return the curve through estimates over x, with their intervals; None is left out."""
    known = [(x, *found) for x, found in points if found is not None]
    x, y, low, high = ([point[place] for point in known] for place in range(4))
    return Series(label, x, y, low, high, published)


def curve_chart(
    path: Path, title: str, x_label: str, y_label: str, series: Sequence[Series]
) -> None:
    """Draw curves with bands, published ones dashed and hollow, as a PNG.

    A curve of a single point is a marker with whiskers. Curves of one label share its colour. A
    wide x axis is logarithmic, unless its label ends with [%]. Equal inputs give equal bytes.

    Raises:
        ValueError: there is no curve, or the parts of one differ in length.
    """
    if not series:
        raise ValueError("expected at least one curve, got none")
    series = [one._replace(label=_wrapped(one.label)) for one in series]
    lines = sum(one.label.count("\n") + 1 for one in series)
    figure = new_chart(CHART_INCHES, max(_CURVES_HEIGHT, 1.0 + 0.18 * lines))
    axes = figure.add_subplot()
    labels = list(dict.fromkeys(one.label for one in series))
    handles = [_draw(axes, one, labels.index(one.label)) for one in series]
    if not x_label.endswith("[%]"):
        _scale_x(axes, np.concatenate([np.asarray(one.x, dtype=float) for one in series]))
    _finish(axes, x_label, y_label)
    add_title(figure, title)
    add_legend(figure, handles, "right center", 1)
    save(figure, path)


def convergence_chart(
    path: Path,
    title: str,
    y_label: str,
    budgets: Sequence[int],
    names: Sequence[str],
    values: Floats,
    low: Floats,
    high: Floats,
) -> None:
    """Draw the values (budgets, contributors) and their bands over the coalitions, as a PNG.

    Of more than 10 contributors, the 5 highest and the 5 lowest at the last budget are drawn, and
    the chart says so. Equal inputs give equal bytes.

    Raises:
        ValueError: values, low or high are not of these budgets and names.
    """
    expected = (len(budgets), len(names))
    shapes = [np.shape(array) for array in (values, low, high)]
    if not budgets or shapes != [expected] * 3:
        raise ValueError(f"expected three arrays (budgets, contributors) {expected}, got {shapes}")
    figure = new_chart(CHART_INCHES, _CONVERGENCE_HEIGHT)
    axes = figure.add_subplot()
    chosen = _ends(values[-1])
    lines = []
    for place, player in enumerate(chosen):
        y, below, above = (part[:, player].tolist() for part in (values, low, high))
        curve = Series(short(names[player], _LONGEST_LABEL), budgets, y, below, above, False)
        lines.append(_draw(axes, curve, place))
    _scale_x(axes, np.asarray(budgets, dtype=float))
    _finish(axes, "coalitions", y_label)
    _label_curves(axes, lines)
    if len(chosen) < len(names):
        half = MOST_LABELLED // 2
        note = f"the {half} highest and {half} lowest of {len(names):,} contributors"
        axes.set_title(note, loc="left", fontsize=SMALL, color=FAINT)
    add_title(figure, title)
    save(figure, path)


def _draw(axes: Any, series: Series, place: int) -> Any:
    """Draw a curve with its band, and return its line."""
    parts = [np.asarray(part, dtype=float) for part in series[1:5]]
    if len({part.shape for part in parts}) != 1:
        lengths = [len(part) for part in parts]
        raise ValueError(f"{series.label}: expected x, y, low, high of one length, got {lengths}")
    x, y, low, high = parts
    again, hue = divmod(place, len(PALETTE))
    colour = PALETTE[hue]
    known = np.isfinite(y)
    if known.sum() == 1:
        axes.errorbar(x[known], y[known], _arms(y, low, high)[:, known], ecolor=colour, capsize=3)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0, zorder=1)
    (line,) = axes.plot(
        x,
        y,
        color=colour,
        linewidth=1.6,
        linestyle=_PUBLISHED if series.published else _OURS[again % len(_OURS)],
        marker=MARKERS[place % len(MARKERS)],
        markersize=5,
        markerfacecolor="white" if series.published else colour,
        label=series.label,
        zorder=3,
    )
    return line


def _wrapped(label: str) -> str:
    return textwrap.fill(one_line(label), _WIDEST_LABEL, max_lines=3, placeholder="…")


def _arms(y: Floats, low: Floats, high: Floats) -> Floats:
    """Return the lengths (2, n) of the whiskers, none where an end is unknown."""
    arms = np.stack([y - low, high - y])
    return np.where(np.isfinite(arms).all(axis=0), np.maximum(arms, 0), np.nan)


def _ends(values: Floats) -> list[int]:
    """Return the contributors to draw, the highest first; the unknown come last."""
    order = [int(player) for player in np.argsort(-values, kind="stable")]
    if len(order) <= MOST_LABELLED:
        return order
    known = [player for player in order if np.isfinite(values[player])]
    half = MOST_LABELLED // 2
    return known if len(known) <= MOST_LABELLED else [*known[:half], *known[-half:]]


def _scale_x(axes: Any, x: Floats) -> None:
    known = x[np.isfinite(x)]
    if not len(known) or known.min() <= 0 or known.max() < _LOG_FROM * known.min():
        return
    axes.set_xscale("log")
    distinct = np.unique(known)
    if len(distinct) <= _MOST_TICKS and np.all(distinct[1:] > _APART * distinct[:-1]):
        axes.xaxis.set_major_locator(FixedLocator(distinct.tolist()))
    else:
        wide = distinct[-1] > 200 * distinct[0]
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _finish(axes: Any, x_label: str, y_label: str) -> None:
    label_axes(axes, x_label, y_label)
    tidy(axes, "both")
    bottom, top = axes.get_ylim()
    if bottom < 0 < top:
        axes.axhline(0, color=INK, linewidth=0.8, zorder=1.5)
    axes.ticklabel_format(axis="y", scilimits=(-3, 5))


def _label_curves(axes: Any, lines: Sequence[Any]) -> None:
    """Name the curves at their right ends, each with a leader in its colour."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    ends = []
    for line in lines:
        known = np.flatnonzero(np.isfinite(line.get_ydata()))
        if len(known):
            ends.append((line, line.get_xdata()[known[-1]], line.get_ydata()[known[-1]]))
    places = spread([float((y - bottom) / (top - bottom)) for _, _, y in ends], _LABEL_GAP)
    for (line, x, y), place in zip(ends, places, strict=True):
        leader = {"arrowstyle": "-", "color": line.get_color(), "relpos": (0, 0.5)}
        axes.annotate(
            line.get_label(),
            (x, y),
            xytext=(1.03, place),
            textcoords="axes fraction",
            verticalalignment="center",
            fontsize=SMALL,
            color=INK,
            parse_math=False,
            arrowprops={**leader, "shrinkA": 2, "shrinkB": 3},
        )
