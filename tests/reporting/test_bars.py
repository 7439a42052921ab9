import math
from itertools import pairwise

import pytest
from matplotlib.colors import to_hex
from pictures import figure_of
from PIL import Image

from crediting.reporting.bars import UNKNOWN, score_bars, tints
from crediting.reporting.grid import Estimate
from crediting.reporting.style import BLUE, VERMILION

NAN = math.nan
GROUPS = {
    "alpha=0.25": {"own": Estimate(60.0, 50.0, 70.0), "trak": Estimate(-12.0, -20.0, -4.0)},
    "alpha=0.5": {"trak": Estimate(3.0, NAN, NAN), "own": Estimate(55.0, 51.0, 58.0)},
}
PUBLISHED = {"trak": Estimate(10.0, 8.0, 12.0), "somebody else": Estimate(1.0, 0.0, 2.0)}


def axes_of(groups=GROUPS, published=PUBLISHED, highlighted="own"):
    figure = figure_of(score_bars, "scores", "LDS [%]", groups, published, highlighted)
    return figure.axes[0], figure


def row_of(artist_y):
    return round(artist_y)


def bars_by_row(axes):
    rows = {}
    for bar in axes.patches:
        rows.setdefault(row_of(bar.get_y() + bar.get_height() / 2), []).append(bar)
    return rows


def test_equal_inputs_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        score_bars(tmp_path / name, "scores", "LDS [%]", GROUPS, PUBLISHED, "own")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert set(image.info) == {"dpi"}


def test_every_row_has_a_bar_per_group_with_its_score():
    axes, figure = axes_of()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["own", "trak"]
    rows = bars_by_row(axes)
    assert [bar.get_width() for bar in rows[0]] == [60.0, 55.0]
    assert [bar.get_width() for bar in rows[1]] == [-12.0, 3.0]
    assert rows[0][0].get_y() < rows[0][1].get_y()
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert axes.get_xlabel() == "LDS [%]"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *GROUPS,
        "published",
    ]


def test_bars_do_not_overlap():
    axes, _ = axes_of()
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_whiskers_span_the_known_intervals():
    axes, _ = axes_of()
    whiskers = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
    assert sorted(whiskers) == [[-20.0, -4.0], [8.0, 12.0], [50.0, 70.0], [51.0, 58.0]]


def test_a_published_score_is_a_hollow_diamond_in_its_row_below_the_bars():
    axes, _ = axes_of()
    (diamond,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert list(diamond.get_xdata()) == [10.0]
    assert row_of(diamond.get_ydata()[0]) == 1
    assert diamond.get_ydata()[0] > max(bar.get_y() + bar.get_height() for bar in axes.patches)
    assert diamond.get_markerfacecolor() == "white"


def test_nothing_published_is_nothing_in_the_legend():
    axes, figure = axes_of(published={"own": Estimate(NAN, NAN, NAN)})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(GROUPS)
    assert not [line for line in axes.lines if line.get_marker() == "D"]


def test_an_unknown_score_keeps_its_row_and_says_so():
    unknown = Estimate(NAN, NAN, NAN)
    groups = {
        "a": {"own": Estimate(1.0, 0.5, 2.0), "none": unknown, "half": unknown},
        "b": {"own": Estimate(1.0, 0.5, 2.0), "half": Estimate(2.0, 1.0, 3.0), "late": unknown},
    }
    axes, _ = axes_of(groups, {})
    assert [label.get_text() for label in axes.get_yticklabels()] == ["own", "none", "half", "late"]
    assert sorted(bars_by_row(axes)) == [0, 2]
    said = [text for text in axes.texts if text.get_text() == UNKNOWN]
    assert [row_of(text.xy[1]) for text in said] == [1, 2, 3]
    assert said[0].xy[1] == pytest.approx(1)


def test_the_highlighted_row_is_bold_and_of_its_own_colour():
    axes, _ = axes_of(highlighted="trak")
    weights = [label.get_weight() for label in axes.get_yticklabels()]
    assert weights == ["normal", "bold"]
    rows = bars_by_row(axes)
    assert to_hex(rows[0][-1].get_facecolor()) == BLUE.lower()
    assert to_hex(rows[1][-1].get_facecolor()) == VERMILION.lower()


def test_tints_darken_to_the_colour_itself():
    shades = tints(BLUE, 3)
    brightness = [sum(int(shade[i : i + 2], 16) for i in (1, 3, 5)) for shade in shades]
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(brightness)) == 3
    assert shades[-1] == BLUE.lower()
    assert tints(BLUE, 1) == [BLUE.lower()]


def test_25_long_names_stay_apart_and_on_the_picture():
    names = [f"$x_{{{i} a method with quite a long name" for i in range(25)]
    scores = {name: Estimate(float(i - 12), i - 14.0, i - 10.0) for i, name in enumerate(names)}
    axes, figure = axes_of({"a": scores, "b": scores, "c": scores}, {}, names[0])
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0
    assert axes.get_window_extent().width > figure.bbox.width / 2


def test_scores_of_no_group_are_refused():
    with pytest.raises(ValueError, match="at least one group"):
        axes_of({})
