"""A chart of scores: horizontal bars with intervals, and published scores beside them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crediting.reporting.grid import Estimate
from crediting.reporting.style import (
    BLUE,
    CHART_INCHES,
    FAINT,
    INK,
    LONGEST_NAME,
    VERMILION,
    add_legend,
    add_title,
    label_axes,
    new_chart,
    save,
    short,
    tidy,
)

UNKNOWN = "unknown"
ROW_HEIGHT = 0.84
"""Part of a row that its bars fill; the rest parts it from the next."""
_NOTHING = Estimate(math.nan, math.nan, math.nan)
_LANE_INCHES = 0.085
_LEAST_ROW_INCHES = 0.26
_DIAMOND: dict[str, Any] = {
    "marker": "D",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "linestyle": "none",
}

Groups = Mapping[str, Mapping[str, Estimate]]


def score_bars(
    path: Path,
    title: str,
    x_label: str,
    groups: Groups,
    published: Mapping[str, Estimate],
    highlighted: str,
) -> None:
    """Draw a row per label with a bar per group, the highlighted row in its own colour, as a PNG.

    A hollow diamond below the bars is the published score; a score of NaN is called unknown.
    Equal inputs give equal bytes.

    Raises:
        ValueError: there is no group.
    """
    if not groups:
        raise ValueError("expected at least one group of scores, got none")
    labels = list(dict.fromkeys(label for scores in groups.values() for label in scores))
    told = [published[label] for label in labels if label in published]
    with_published = not all(math.isnan(one.value) for one in told)
    lanes = len(groups) + with_published
    row_inches = max(_LEAST_ROW_INCHES, _LANE_INCHES * lanes + 0.06)
    figure = new_chart(CHART_INCHES, 1.6 + row_inches * len(labels))
    axes = figure.add_subplot()
    for place, label in enumerate(labels):
        scores = [group.get(label, _NOTHING) for group in groups.values()]
        _draw_scores(axes, _lanes(place, lanes), scores, label == highlighted)
        if with_published:
            _draw_published(axes, _lanes(place, lanes)[-1], published.get(label, _NOTHING))
    _label_rows(axes, labels, highlighted)
    _label_values(axes, x_label)
    add_title(figure, title)
    add_legend(figure, _handles(list(groups), with_published), "lower left", 4)
    save(figure, path)


def tints(colour: str, count: int) -> list[str]:
    """Return so many tints of a colour, from pale to itself."""
    red, green, blue = to_rgb(colour)
    shares = [1.0] if count == 1 else [0.5 + 0.5 * place / (count - 1) for place in range(count)]
    return [to_hex([1 - share * (1 - part) for part in (red, green, blue)]) for share in shares]


def _lanes(place: int, count: int) -> list[float]:
    """Return the middles of the lanes of a row, top down."""
    return [place + ROW_HEIGHT * ((lane + 0.5) / count - 0.5) for lane in range(count)]


def _draw_scores(
    axes: Any, lanes: Sequence[float], scores: Sequence[Estimate], highlighted: bool
) -> None:
    colours = tints(VERMILION if highlighted else BLUE, len(scores))
    height = 0.92 * ROW_HEIGHT / len(lanes)
    if all(math.isnan(score.value) for score in scores):
        _say_unknown(axes, sum(lanes[: len(scores)]) / len(scores))
        return
    for lane, score, colour in zip(lanes, scores, colours, strict=False):
        if math.isnan(score.value):
            _say_unknown(axes, lane)
        else:
            axes.barh(lane, score.value, height=height, color=colour, zorder=2)
            _draw_whiskers(axes, lane, score)


def _say_unknown(axes: Any, lane: float) -> None:
    axes.annotate(
        UNKNOWN,
        (0, lane),
        xytext=(4, 0),
        textcoords="offset points",
        verticalalignment="center_baseline",
        fontsize=6,
        style="italic",
        color=FAINT,
    )


def _draw_published(axes: Any, lane: float, score: Estimate) -> None:
    if math.isnan(score.value):
        return
    _draw_whiskers(axes, lane, score)
    axes.plot([score.value], [lane], zorder=5, **_DIAMOND)


def _draw_whiskers(axes: Any, lane: float, score: Estimate) -> None:
    if math.isfinite(score.high - score.low) and score.low < score.high:
        ends = [score.low, score.high]
        axes.plot(ends, [lane, lane], color=INK, linewidth=0.9, marker="|", markersize=4, zorder=4)


def _label_rows(axes: Any, labels: Sequence[str], highlighted: str) -> None:
    names = [short(label, LONGEST_NAME) for label in labels]
    axes.set_yticks(range(len(labels)), names, fontsize=9, color=INK, parse_math=False)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    for label, text in zip(labels, axes.get_yticklabels(), strict=True):
        if label == highlighted:
            text.set(weight="bold", color=VERMILION)


def _label_values(axes: Any, x_label: str) -> None:
    label_axes(axes, x_label, "")
    tidy(axes, "x")
    axes.axvline(0, color=INK, linewidth=1, zorder=3)
    axes.locator_params(axis="x", nbins=8)
    axes.ticklabel_format(axis="x", scilimits=(-3, 5))


def _handles(names: Sequence[str], with_published: bool) -> list[Any]:
    colours = tints(BLUE, len(names))
    handles: list[Any] = [
        Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)
    ]
    return [*handles, Line2D([], [], label="published", **_DIAMOND)] if with_published else handles
