"""What all figures share: resolution, colours, titles and files of equal bytes.

Figures are drawn on their own Agg canvas, so that the matplotlib state of a caller stays as it is.
"""

import textwrap
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from crediting.reporting.fonts import write_in_fonts
from crediting.reporting.formats import one_line

DPI = 150
_LACKING = "Glyph .* missing from font"
CHART_INCHES = 7.0
LONGEST_NAME = 32
SMALL = 8
"""Size in points of legends and footers."""

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION = "#56B4E9", "#D55E00"
INK, FAINT, RULE = "#222222", "#8A8A8A", "#E3E3E3"
PALETTE = (BLUE, ORANGE, GREEN, PINK, INK, SKY, VERMILION)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")


def new_figure(width: float, height: float, layout: Any = None) -> Any:
    """Return an empty white figure of so many inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new_chart(width: float, height: float) -> Any:
    """Return an empty white figure of so many inches that keeps its parts from overlapping."""
    return new_figure(width, height, ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG; equal figures give equal bytes on one machine."""
    # The version of matplotlib, written by default, would make equal figures differ.
    write = partial(figure.savefig, path, format="png", dpi=DPI, metadata={"Software": None})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_LACKING)
        try:
            write()
        except UserWarning:
            write_in_fonts(figure)
            warnings.filterwarnings("ignore", message=_LACKING)  # told by now
            write()


def short(name: str, longest: int) -> str:
    """Return a name on one line, its middle cut out if it has more than so many characters.

    Names of files and folders differ in their beginning or in their end.
    """
    name = one_line(name)
    if len(name) <= longest:
        return name
    end = (longest - 1) // 3
    return f"{name[: longest - 1 - end]}…{name[len(name) - end :]}"


def add_title(figure: Any, title: str) -> None:
    """Set the title of a figure at its left edge, on as many lines as it needs."""
    figure.suptitle(
        textwrap.fill(one_line(title), max(20, int(9 * figure.get_figwidth()))),
        x=0.02,
        horizontalalignment="left",
        weight="bold",
        color=INK,
        parse_math=False,
    )


def tidy(axes: Any, ruled: str) -> None:
    """Leave of the frame only the rules across an axis: x, y or both."""
    axes.grid(axis=ruled, color=RULE, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def label_axes(axes: Any, x_label: str, y_label: str) -> None:
    """Name the axes, on one line each."""
    axes.set_xlabel(one_line(x_label), color=INK, parse_math=False)
    axes.set_ylabel(one_line(y_label), color=INK, parse_math=False)


def add_legend(
    figure: Any, handles: Sequence[Any], where: str, columns: int, title: str | None = None
) -> None:
    """Add a small legend outside the axes, its title faint."""
    legend = figure.legend(
        handles=handles,
        title=title,
        loc=f"outside {where}",
        alignment="left",
        ncols=columns,
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        borderpad=0,
        borderaxespad=1.1,
    )
    legend.get_title().set(parse_math=False, color=FAINT)
    for text in legend.get_texts():
        text.set(parse_math=False, color=INK)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places at least a gap apart, in the same order and as near the old ones as can be.

    Those that would overlap are centred, as one block, on the mean of their old places.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _reach(blocks, places, gap):
            last = blocks.pop()
            blocks[-1] += last
    moved = list(places)
    for block in blocks:
        for index, place in zip(block, _rows(block, places, gap), strict=True):
            moved[index] = place
    return moved


def _rows(block: Sequence[int], places: Sequence[float], gap: float) -> list[float]:
    middle = sum(places[index] for index in block) / len(block)
    return [middle + gap * (row - (len(block) - 1) / 2) for row in range(len(block))]


def _reach(blocks: Sequence[Sequence[int]], places: Sequence[float], gap: float) -> bool:
    """Return whether the last two blocks are less than a gap apart."""
    below, above = (_rows(block, places, gap) for block in blocks[-2:])
    return above[0] - below[-1] < gap
