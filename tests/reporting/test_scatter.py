import math
from itertools import pairwise

import numpy as np
import pytest
from pictures import figure_of

from crediting.reporting.scatter import Panel, scatter_chart

NAN = math.nan
NEAR = Panel("near", [1.0, 2.0, 5.0], [2.0, 1.5, 4.0])
FAR = Panel("far", [1.0, 2.0], [10.0, 11.0])
UNKNOWN = Panel("unknown", [NAN, 1.0], [1.0, NAN])


def draw(panels):
    return figure_of(scatter_chart, "t", "retrained", "estimated", panels)


def test_equal_inputs_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        scatter_chart(tmp_path / name, "t", "x", "y", [NEAR, FAR, UNKNOWN])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_points_stand_where_they_are_known():
    panel = Panel("p", [1.0, NAN, 3.0, 4.0], [2.0, 2.0, math.inf, 5.0])
    (points,) = draw([panel]).axes[0].collections
    assert points.get_offsets().tolist() == [[1.0, 2.0], [4.0, 5.0]]


def test_equal_values_are_a_line_over_the_shared_range():
    figure = draw([NEAR, FAR])
    near, far = figure.axes
    assert near.lines[0].get_xydata().tolist() == [[1.5, 1.5], [4.0, 4.0]]
    assert near.lines[0].is_dashed()
    assert not far.lines
    assert "dashed: equal values" in figure.get_supxlabel()
    assert draw([FAR]).get_supxlabel() == "retrained"
    assert figure.get_supylabel() == "estimated"


def test_a_single_point_is_drawn_without_a_line():
    (axes,) = draw([Panel("one", [2.0], [2.0])]).axes
    assert len(axes.collections[0].get_offsets()) == 1
    assert not axes.lines


def test_a_panel_without_known_points_says_so():
    (axes,) = draw([UNKNOWN]).axes
    assert not axes.collections
    assert [text.get_text() for text in axes.texts] == ["unknown"]


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 4)), (9, (3, 4))])
def test_panels_fill_rows_of_up_to_four(n, shape):
    figure = draw([NEAR._replace(title=f"p{i}") for i in range(n)])
    assert [axes.get_title() for axes in figure.axes] == [f"p{i}" for i in range(n)]
    specs = [axes.get_subplotspec() for axes in figure.axes]
    assert specs[0].get_gridspec().get_geometry() == shape
    assert [(spec.rowspan.start, spec.colspan.start) for spec in specs] == [
        divmod(i, shape[1]) for i in range(n)
    ]


def test_titles_of_neighbours_do_not_overlap():
    figure = draw([NEAR._replace(title="a method with a very long name $x_1" * 3)] * 4)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    assert boxes[-1].x1 <= figure.bbox.width


def test_a_long_title_is_broken_and_keeps_its_number():
    (axes,) = draw([NEAR._replace(title="renormalised_influence: 0.85")]).axes
    assert axes.get_title() == "renormalised_influence:\n0.85"


def test_nothing_and_unpaired_points_are_refused():
    with pytest.raises(ValueError, match="at least one panel"):
        draw([])
    with pytest.raises(ValueError, match="near: expected as many x as y"):
        draw([NEAR._replace(x=np.ones(2).tolist())])
