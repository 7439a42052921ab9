import math

import numpy as np
import pytest
from pictures import figure_of

from crediting.reporting.curves import (
    Series,
    convergence_chart,
    curve_chart,
)
from crediting.reporting.style import PALETTE, spread

NAN = math.nan
BUDGETS = [32, 64, 128, 256]
OWN = Series("own", [32, 64, 128], [10.0, 30.0, 20.0], [8.0, NAN, 15.0], [12.0, 33.0, 25.0], False)
PAPER = Series("paper", [32, 64], [12.0, -9.0], [NAN, NAN], [NAN, NAN], True)
SINGLE = Series("single", [100], [40.0], [35.0], [50.0], False)


def lines_of(figure, *labels):
    by_label = {line.get_label(): line for line in figure.axes[0].lines}
    return [by_label[label] for label in labels]


def settling(n, k=4, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(k, n))
    return values, values - 0.5, values + 0.5


def test_equal_inputs_give_equal_bytes(tmp_path):
    names = ["ada", "bob", "eve"]
    for run in ("a", "b"):
        curve_chart(tmp_path / f"{run}.png", "t", "x", "y", [OWN, PAPER, SINGLE])
        convergence_chart(tmp_path / f"{run}2.png", "t", "y", BUDGETS, names, *settling(3))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a2.png").read_bytes() == (tmp_path / "b2.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "a2.png").read_bytes()


def test_curves_run_through_their_points_and_published_ones_are_dashed_and_hollow():
    figure = figure_of(curve_chart, "t", "coalitions", "LDS [%]", [OWN, PAPER, SINGLE])
    own, paper, _ = lines_of(figure, "own", "paper", "single")
    assert own.get_xydata().tolist() == [[32, 10], [64, 30], [128, 20]]
    assert paper.get_xydata().tolist() == [[32, 12], [64, -9]]
    assert (own.is_dashed(), paper.is_dashed()) == (False, True)
    assert paper.get_markerfacecolor() == "white" != own.get_markerfacecolor()
    assert figure.axes[0].get_xlabel() == "coalitions"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["own", "paper", "single"]


def test_a_band_is_open_where_an_end_is_unknown():
    whole = OWN._replace(low=[8.0, 25.0, 15.0])
    rest = Series("rest", [1, 2, 3, 4], [0.0] * 4, [NAN, NAN, -1.0, -1.0], [1.0] * 4, False)
    for series, first, last in ((whole, 32, 128), (rest, 3, 4)):
        (band,) = figure_of(curve_chart, "t", "x", "y", [series]).axes[0].collections
        corners = np.concatenate([path.vertices for path in band.get_paths()])
        assert (corners[:, 0].min(), corners[:, 0].max()) == (first, last)
    (none,) = figure_of(curve_chart, "t", "x", "y", [PAPER]).axes[0].collections
    assert sum(len(path.vertices) for path in none.get_paths()) == 0


@pytest.mark.parametrize("gaps", [False, True])
def test_a_single_point_has_a_marker_with_whiskers(gaps):
    series = SINGLE
    if gaps:
        parts = ([50, 100], [NAN, 40.0], [0.0, 35.0], [99.0, 50.0])
        series = Series("single", *parts, published=False)
    figure = figure_of(curve_chart, "t", "x", "y", [series])
    (line,) = lines_of(figure, "single")
    assert line.get_marker() == "o"
    (whiskers,) = figure.axes[0].collections
    assert [segment.tolist() for segment in whiskers.get_segments()] == [[[100, 35], [100, 50]]]


def test_a_single_point_without_interval_and_a_curve_of_nothing(tmp_path):
    bare = SINGLE._replace(low=[NAN], high=[NAN])
    nothing = Series("nothing", [1, 2], [NAN, NAN], [NAN, NAN], [NAN, NAN], False)
    curve_chart(tmp_path / "c.png", "t", "x", "y", [bare, nothing])
    curve_chart(tmp_path / "d.png", "t", "x", "y", [nothing])
    assert (tmp_path / "c.png").stat().st_size > 0


def test_curves_of_one_label_share_a_colour_and_others_do_not():
    paper = PAPER._replace(label="own")
    first, second, third = (
        figure_of(curve_chart, "t", "x", "y", [OWN, paper, SINGLE]).axes[0].lines[:3]
    )
    assert first.get_color() == second.get_color() != third.get_color()


def test_curves_that_have_to_share_a_colour_differ_in_their_lines():
    many = [OWN._replace(label=f"method {place}") for place in range(2 * len(PALETTE))]
    lines = figure_of(curve_chart, "t", "x", "y", many).axes[0].lines[: len(many)]
    assert len({(line.get_color(), line.is_dashed()) for line in lines}) == len(many)


def test_a_wide_positive_x_axis_is_logarithmic_with_plain_numbers():
    wide = Series("w", [100, 400, 1600], [1.0, 2.0, 3.0], [NAN] * 3, [NAN] * 3, False)
    figure = figure_of(curve_chart, "t", "x", "y", [wide])
    figure.draw_without_rendering()
    assert figure.axes[0].get_xscale() == "log"
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["100", "400", "1,600"]
    for x in ([0, 400, 1600], [100, 200, 300]):
        assert (
            figure_of(curve_chart, "t", "x", "y", [wide._replace(x=x)]).axes[0].get_xscale()
            == "linear"
        )
    percent = figure_of(curve_chart, "t", "removed [%]", "y", [wide._replace(x=[5, 50, 95])])
    assert percent.axes[0].get_xscale() == "linear"


def test_long_labels_stay_whole_and_on_the_picture():
    label = "renormalised_influence, bottom removed, published"
    series = [OWN._replace(label=f"{label} {i}") for i in range(12)]
    figure = figure_of(curve_chart, "t", "x", "y", series)
    figure.draw_without_rendering()
    texts = figure.legends[0].get_texts()
    assert [" ".join(text.get_text().split()) for text in texts] == [one.label for one in series]
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.height
    assert box.x1 <= figure.bbox.width


def test_curves_refuse_nothing_and_parts_of_other_lengths():
    with pytest.raises(ValueError, match="at least one curve"):
        figure_of(curve_chart, "t", "x", "y", [])
    with pytest.raises(ValueError, match=r"own: expected .* got \[3, 3, 1, 3\]"):
        figure_of(curve_chart, "t", "x", "y", [OWN._replace(low=[1.0])])


def test_up_to_ten_contributors_are_all_drawn_and_named_at_their_ends():
    names = [f"artist {i}" for i in range(10)]
    values, low, high = settling(10)
    figure = figure_of(convergence_chart, "t", "credit", BUDGETS, names, values, low, high)
    for player, line in enumerate(lines_of(figure, *names)):
        np.testing.assert_array_equal(line.get_ydata(), values[:, player])
        assert list(line.get_xdata()) == BUDGETS
    ends = {text.get_text(): text.xy for text in figure.axes[0].texts}
    assert ends == {name: (256, values[-1, i]) for i, name in enumerate(names)}
    assert figure.axes[0].get_title(loc="left") == ""


def test_names_stand_in_the_order_of_the_curves_without_overlap():
    names = [f"artist {i}" for i in range(10)]
    values = np.full((4, 10), 0.5) + 1e-6 * np.arange(10)
    values[:, 0] = -3
    figure = figure_of(
        convergence_chart, "t", "credit", BUDGETS, names, values, values - 1, values + 1
    )
    figure.draw_without_rendering()
    texts = sorted(figure.axes[0].texts, key=lambda text: text.xy[1])
    boxes = [text.get_window_extent() for text in texts]
    heights = [text.get_position()[1] for text in texts]
    assert heights == sorted(heights)
    steps = np.diff(heights) * figure.axes[0].get_window_extent().height
    assert steps.min() > 8 * figure.dpi / 72
    assert max(box.x1 for box in boxes) <= figure.bbox.width


def test_of_many_contributors_the_ends_of_the_last_budget_are_drawn():
    names = [f"artist {i}" for i in range(30)]
    values, low, high = settling(30)
    values[-1, 7] = NAN
    figure = figure_of(convergence_chart, "t", "credit", BUDGETS, names, values, low, high)
    order = [i for i in np.argsort(values[-1]).tolist() if i != 7]
    expected = {names[i] for i in [*order[:5], *order[-5:]]}
    assert {text.get_text() for text in figure.axes[0].texts} == expected
    note = figure.axes[0].get_title(loc="left")
    assert note == "the 5 highest and 5 lowest of 30 contributors"
    values[-1, 8:] = NAN
    figure = figure_of(convergence_chart, "t", "credit", BUDGETS, names, values, low, high)
    drawn = [line for line in figure.axes[0].lines if line.get_label() in names]
    assert {line.get_label() for line in drawn} == {*names[:7]}
    assert len(drawn) == 7


def test_a_contributor_is_named_at_its_last_known_value_or_not_at_all():
    values = np.array([[1.0, 2.0, NAN], [1.5, NAN, NAN]])
    figure = figure_of(
        convergence_chart, "t", "c", [10, 20], ["a", "b", "c"], values, values, values
    )
    ends = {text.get_text(): text.xy for text in figure.axes[0].texts}
    assert ends == {"a": (20, 1.5), "b": (10, 2.0)}


def test_one_budget_and_equal_values_can_be_drawn(tmp_path):
    values = np.zeros((1, 2))
    convergence_chart(tmp_path / "c.png", "t", "y", [64], ["a", "b"], values, values, values)
    assert (tmp_path / "c.png").stat().st_size > 0


def test_convergence_refuses_arrays_of_other_shapes():
    with pytest.raises(ValueError, match=r"\(4, 2\), got"):
        figure_of(convergence_chart, "t", "y", BUDGETS, ["a", "b"], *settling(3))


@pytest.mark.parametrize("seed", range(5))
def test_spread_keeps_order_and_gap_and_moves_only_what_overlaps(seed):
    places = np.random.default_rng(seed).uniform(0, 1, 12).tolist()
    moved = spread(places, 0.05)
    order = np.argsort(places)
    assert np.diff(np.asarray(moved)[order]).min() >= 0.05 - 1e-12
    assert sum(moved) == pytest.approx(sum(places))
    assert spread(moved, 0.04) == pytest.approx(moved)
    assert spread([0.5, 0.9, 0.5], 0.1) == pytest.approx([0.45, 0.9, 0.55])
