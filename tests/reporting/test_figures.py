import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from pictures import figure_of
from PIL import Image

from crediting.reporting import figures
from crediting.reporting.figures import GUTTER, MARGIN, PANEL_GAP, credit_chart, image_grid
from crediting.reporting.style import CHART_INCHES, DPI
from crediting.reporting.table import credit_table


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def random_images(n, channels, side, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)


def test_chart_is_a_png_of_equal_bytes_without_date_or_version(make_table, tmp_path):
    for name in ("a.png", "b.png"):
        credit_chart(make_table(5, higher_is_better=False), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.width == CHART_INCHES * DPI
        assert round(image.info["dpi"][0]) == DPI
        assert set(image.info) == {"dpi"}


def test_chart_of_300_contributors_stays_on_a_page(make_table, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    credit_chart(make_table(300), tmp_path / "chart.png")
    (figure,) = drawn
    assert figure.get_size_inches()[1] < 11
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == figures.SHOWN_TOP + figures.SHOWN_BOTTOM + 1
    assert labels[figures.SHOWN_TOP] == "⋮ 270 more"
    (legend,) = figure.legends
    assert "top 20 and bottom 10 of 300 contributors shown" in legend.get_title().get_text()


def test_chart_shows_rank_order_direction_unit_and_intervals(make_table, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    table = make_table(30, higher_is_better=False)
    credit_chart(table, tmp_path / "chart.png")
    axes = drawn[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [row.credit for row in table.rows]
    assert [list(line.get_xdata()) for line in axes.lines[:30]] == [
        [row.ci_low, row.ci_high] for row in table.rows
    ]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert axes.get_xlabel() == "credit [FID]"
    assert drawn[0].get_suptitle() == "fid ↓ lower is better"


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_who_improves_the_property_is_blue_and_who_worsens_it_orange(higher_is_better, exactly):
    up, down = ("#0072B2", "#E69F00")[:: 1 if higher_is_better else -1]
    table = credit_table(
        exactly([3.0, -2.0, 0.0], 0.0, 1.0), "abc", [1] * 3, "p", "", higher_is_better, 1
    )
    figure = figure_of(lambda path: credit_chart(table, path))
    drawn = {bar.get_width(): to_hex(bar.get_facecolor()).upper() for bar in figure.axes[0].patches}
    assert (drawn[3.0], drawn[-2.0]) == (up, down)
    meanings = [text.get_text() for text in figure.legends[0].get_texts()]
    assert meanings == ["improves the property", "worsens it"]


@pytest.mark.parametrize("credits", [[0.0, 0.0], [1e-9, -2e-9], [1e7, 1.0]])
def test_chart_takes_odd_credits_names_and_no_interval(credits, tmp_path, exactly):
    attribution = exactly(credits, 0.0, 1.0)
    names = ["$x_{$ \\frac", "a very long name " * 9]
    credit_chart(credit_table(attribution, names, [1, 2], "p$", "", True, 1), tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 0


def test_chart_of_unknown_uncertainty(make_table, tmp_path):
    credit_chart(make_table(known=False), tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 0


@pytest.mark.parametrize(("channels", "side", "scale"), [(1, 8, 8), (3, 32, 2), (3, 80, 1)])
def test_grid_shows_every_pixel_in_its_place(channels, side, scale, tmp_path):
    rows, columns = 2, 3
    panels = [
        ("full model", random_images(6, channels, side)),
        ("without the top 3: ada, bob, eve", random_images(9, channels, side, seed=1)),
    ]
    image_grid(panels, tmp_path / "grid.png", rows, columns)
    picture = pixels(tmp_path / "grid.png")
    pitch = side * scale + GUTTER
    panel_height, panel_width = rows * pitch + GUTTER, columns * pitch + GUTTER
    assert picture.shape[1] == 2 * MARGIN + 2 * panel_width + PANEL_GAP
    top = picture.shape[0] - MARGIN - panel_height
    for index, (_, images) in enumerate(panels):
        left = MARGIN + index * (panel_width + PANEL_GAP)
        for place in range(rows * columns):
            y = top + GUTTER + place // columns * pitch
            x = left + GUTTER + place % columns * pitch
            tile = picture[y : y + side * scale, x : x + side * scale]
            expected = np.broadcast_to(images[place].transpose(1, 2, 0), (side, side, 3))
            enlarged = np.kron(expected, np.ones((scale, scale, 1), dtype=np.uint8))
            np.testing.assert_array_equal(tile, enlarged)
            assert len(np.unique(picture[y - GUTTER : y, x : x + side * scale])) == 1
    assert picture[MARGIN:top].min() < 100


def test_grid_is_deterministic_and_leaves_missing_images_blank(tmp_path):
    for name in ("a.png", "b.png"):
        image_grid([("few", random_images(1, 1, 8))], tmp_path / name, 2, 2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = pixels(tmp_path / "a.png")
    blank = picture[-MARGIN - 60 : -MARGIN - 4, -MARGIN - 60 : -MARGIN - 4]
    assert len(np.unique(blank)) == 1


@pytest.mark.parametrize(
    "panels",
    [
        [],
        [("float", np.zeros((1, 1, 8, 8)))],
        [("two channels", np.zeros((1, 2, 8, 8), dtype=np.uint8))],
        [("one image", np.zeros((1, 8, 8), dtype=np.uint8))],
    ],
)
def test_grid_refuses_what_it_cannot_draw(panels, tmp_path):
    with pytest.raises(ValueError, match="expected"):
        image_grid(panels, tmp_path / "grid.png", 1, 1)


def test_pyplot_and_its_global_state_stay_out():
    code = "import sys, crediting.reporting.figures; print('matplotlib.pyplot' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
