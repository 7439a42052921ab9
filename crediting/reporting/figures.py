"""Pictures for the report: a chart of the credits and grids of generated images."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from crediting.reporting.formats import one_line
from crediting.reporting.style import (
    BLUE,
    CHART_INCHES,
    DPI,
    FAINT,
    INK,
    LONGEST_NAME,
    ORANGE,
    add_legend,
    add_title,
    new_chart,
    new_figure,
    save,
    short,
    tidy,
)
from crediting.reporting.table import CreditRow, CreditTable

SHOWN_TOP, SHOWN_BOTTOM = 20, 10

TILE_PIXELS = 64
"""Least side of an image in a grid; smaller ones are enlarged by a whole factor."""
GUTTER, PANEL_GAP, MARGIN = 2, 30, 20
TITLE_POINTS = 10

_BETTER, _WORSE = BLUE, ORANGE
_GUTTER_GREY = 224
_FIGURE_SPACE = "\u2007"


def credit_chart(table: CreditTable, path: Path) -> None:
    """Draw the credits as horizontal bars in rank order, with their intervals, into a PNG.

    Of many contributors only the first 20 and the last 10 are drawn, and the chart says so.
    Equal tables give equal bytes.
    """
    rows = _shown(table.rows)
    figure = new_chart(CHART_INCHES, 1.7 + 0.27 * len(rows))
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        if row is not None:
            _draw_credit(axes, place, row, table.higher_is_better)
    _label_rows(axes, rows, hidden=len(table.rows) - len(rows) + rows.count(None))
    _label_chart(figure, axes, table, rows)
    save(figure, path)


def image_grid(
    panels: Sequence[tuple[str, NDArray[np.uint8]]], path: Path, rows: int, columns: int
) -> None:
    """Draw titled panels of images side by side, each `rows` x `columns` of them, into a PNG.

    The images of a panel are uint8 (N, C, H, W) with C = 1 (grey) or 3 (RGB); the first ones fill
    the panel row by row, and missing ones stay blank. Images below 64 pixels are enlarged by a
    whole factor without smoothing.

    Raises:
        ValueError: there is no panel, or images are of another type or shape.
    """
    if not panels:
        raise ValueError("expected at least one panel of images, got none")
    mosaics = [_mosaic(images, rows, columns) for _, images in panels]
    titles = [
        _wrapped(title, mosaic.shape[1]) for (title, _), mosaic in zip(panels, mosaics, strict=True)
    ]
    line = round(1.35 * TITLE_POINTS * DPI / 72)
    header = line * max(title.count("\n") + 1 for title in titles)
    below = max(len(mosaic) for mosaic in mosaics) + MARGIN
    width = 2 * MARGIN + sum(m.shape[1] for m in mosaics) + PANEL_GAP * (len(mosaics) - 1)
    height = MARGIN + header + below
    # Half a pixel more, lest inches times dots per inch fall just short of a whole pixel.
    figure = new_figure((width + 0.5) / DPI, (height + 0.5) / DPI)
    left = MARGIN
    for title, mosaic in zip(titles, mosaics, strict=True):
        figure.figimage(mosaic, xo=left, yo=below - len(mosaic))
        figure.text(
            left / width,
            (below + 0.45 * line) / height,
            title,
            fontsize=TITLE_POINTS,
            color=INK,
            parse_math=False,
            verticalalignment="baseline",
            linespacing=1.2,
        )
        left += mosaic.shape[1] + PANEL_GAP
    save(figure, path)


def _shown(rows: Sequence[CreditRow]) -> list[CreditRow | None]:
    """Return the rows to draw; None stands for those left out."""
    if len(rows) <= SHOWN_TOP + SHOWN_BOTTOM:
        return list(rows)
    return [*rows[:SHOWN_TOP], None, *rows[-SHOWN_BOTTOM:]]


def _draw_credit(axes: Any, place: int, row: CreditRow, higher_is_better: bool) -> None:
    axes.barh(place, row.credit, height=0.68, color=_colour(row, higher_is_better), zorder=2)
    if row.ci_low < row.ci_high and math.isfinite(row.ci_high - row.ci_low):
        ends = [row.ci_low, row.ci_high]
        axes.plot(ends, [place, place], color=INK, linewidth=1, marker="|", markersize=5, zorder=3)


def _colour(row: CreditRow, higher_is_better: bool) -> str:
    return _BETTER if (row.credit >= 0) == higher_is_better else _WORSE


def _label_rows(axes: Any, rows: Sequence[CreditRow | None], hidden: int) -> None:
    digits = max((len(str(row.rank)) for row in rows if row is not None), default=1)
    labels = [
        f"⋮ {hidden} more"
        if row is None
        else f"{short(row.contributor, LONGEST_NAME)}  {str(row.rank).rjust(digits, _FIGURE_SPACE)}"
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), labels, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for row, label in zip(rows, axes.get_yticklabels(), strict=True):
        label.set_color(FAINT if row is None else INK)


def _label_chart(
    figure: Any, axes: Any, table: CreditTable, rows: Sequence[CreditRow | None]
) -> None:
    arrow = "↑" if table.higher_is_better else "↓"
    add_title(figure, f"{short(table.property_name, LONGEST_NAME)} {arrow} {table.direction}")
    axes.set_xlabel(f"credit [{table.unit}]" if table.unit else "credit", parse_math=False)
    axes.axvline(0, color=INK, linewidth=1, zorder=4)
    tidy(axes, "x")
    axes.locator_params(axis="x", nbins=8)
    axes.ticklabel_format(axis="x", scilimits=(-3, 5))
    _add_footer(figure, table, rows)


def _add_footer(figure: Any, table: CreditTable, rows: Sequence[CreditRow | None]) -> None:
    found = table.attribution
    facts = f"{one_line(found.estimator)}, {found.n_coalitions:,} coalitions, {table.interval_name}"
    if None in rows:
        total = len(table.rows)
        facts += f"\ntop {SHOWN_TOP} and bottom {SHOWN_BOTTOM} of {total} contributors shown"
    meanings = {_BETTER: "improves the property", _WORSE: "worsens it"}
    used = {_colour(row, table.higher_is_better) for row in rows if row and row.credit}
    handles = [Patch(color=c, label=meaning) for c, meaning in meanings.items() if c in used]
    add_legend(figure, handles, "lower left", 2, facts)


def _mosaic(images: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return images, uint8 (N, C, H, W), as one RGB picture, uint8 (height, width, 3)."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"expected images as uint8 (N, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}"
        )
    height, width = images.shape[2:]
    scale = max(1, math.ceil(TILE_PIXELS / min(height, width)))
    down, across = scale * height + GUTTER, scale * width + GUTTER
    shape = (rows * down + GUTTER, columns * across + GUTTER, 3)
    mosaic = np.full(shape, _GUTTER_GREY, dtype=np.uint8)
    for index, image in enumerate(images[: rows * columns]):
        top, left = GUTTER + index // columns * down, GUTTER + index % columns * across
        tile = image.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1)
        mosaic[top : top + scale * height, left : left + scale * width] = tile
    return mosaic


def _wrapped(title: str, pixels: int) -> str:
    character = 0.6 * TITLE_POINTS * DPI / 72
    return textwrap.fill(one_line(title), max(1, int(pixels / character)))
