import csv
import io
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from crediting.interactions.pairwise import Interactions
from crediting.reporting import heat_map
from crediting.reporting.heat_map import interaction_chart, side_by_side
from crediting.reporting.interactions import (
    STRONGEST,
    how_to_read,
    interactions_csv,
    interactions_markdown,
)
from crediting.reporting.style import CHART_INCHES, DPI

NASTY = ["a_b & c%", "x|y*z", "{#1}$^~\\", 'Doe, "J."', "two\nlines"]


def symmetric(values):
    values = np.triu(values, 1)
    values = values + values.T
    np.fill_diagonal(values, np.nan)
    return values


def made_up(n, seed=0, exact=False, known=True):
    rng = np.random.default_rng(seed)
    errors = symmetric(np.full((n, n), 0.1 if known else np.nan))
    return Interactions(symmetric(rng.normal(size=(n, n))), errors, 1234, exact)


def names_of(n):
    return [f"artist {i:03d}" for i in range(n)]


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def pipe_tables(text):
    """Return the bodies of the Markdown tables as rows of cells, by the title above each."""
    found = {}
    for block, title in zip(text.split("\n\n")[1:], text.split("\n\n"), strict=False):
        if block.startswith("|"):
            rows = block.strip().splitlines()[2:]
            found[title] = [[c.strip() for c in row.strip("|").split(" | ")] for row in rows]
    return found


def table(text, kind):
    return next(rows for title, rows in pipe_tables(text).items() if kind in title)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


# ------------------------------------------------------------------------------ CSV


def test_csv_holds_every_pair_once_bit_for_bit():
    n, found = 12, made_up(12)
    read = read_csv(interactions_csv(names_of(n), found))
    assert list(read[0]) == ["contributor_1", "contributor_2", "interaction", "std_error"]
    pairs = [(row["contributor_1"], row["contributor_2"]) for row in read]
    assert pairs == list(combinations(names_of(n), 2))
    above = np.triu_indices(n, 1)
    for column, matrix in (("interaction", found.values), ("std_error", found.std_errors)):
        assert [float(row[column]) for row in read] == matrix[above].tolist()


def test_csv_keeps_names_as_they_are_and_leaves_the_unknown_empty():
    read = read_csv(interactions_csv(NASTY, made_up(5, known=False)))
    assert {row["contributor_1"] for row in read} == set(NASTY[:-1])
    assert {row["std_error"] for row in read} == {""}


# ------------------------------------------------------------------------------ Markdown


def test_markdown_shows_the_strongest_of_either_kind_in_order():
    n, found = 12, made_up(12)
    text = interactions_markdown(names_of(n), found, "score", True)
    strengths = np.sort(found.values[np.triu_indices(n, 1)])
    redundant, complementary = table(text, "redundant"), table(text, "complementary")
    assert len(redundant) == len(complementary) == STRONGEST
    shown = [float(row[2]) for row in redundant]
    np.testing.assert_allclose(shown, strengths[:STRONGEST], rtol=1e-3)
    shown = [float(row[2]) for row in complementary]
    np.testing.assert_allclose(shown, strengths[: -STRONGEST - 1 : -1], rtol=1e-3)
    for first, second, value, error in [*redundant, *complementary]:
        i, j = names_of(n).index(first), names_of(n).index(second)
        assert float(value) == pytest.approx(found.values[i, j], rel=1e-3)
        assert error == "0.1"


def test_where_lower_is_better_the_kinds_change_places():
    found = made_up(12)
    higher = interactions_markdown(names_of(12), found, "", True)
    lower = interactions_markdown(names_of(12), found, "", False)
    assert table(higher, "redundant") == table(lower, "complementary")
    assert table(higher, "complementary") == table(lower, "redundant")
    assert "negative interaction says that two contributors are redundant" in how_to_read(True)
    assert "positive interaction says that two contributors are redundant" in how_to_read(False)
    assert how_to_read(True) in higher
    assert how_to_read(False) in lower


def test_a_kind_without_pairs_is_said_to_have_none():
    nothing = Interactions(symmetric(np.zeros((3, 3))), symmetric(np.zeros((3, 3))), 8, True)
    text = interactions_markdown(names_of(3), nothing, "", True)
    assert "No pair is redundant." in text
    assert "No pair is complementary." in text
    one = Interactions(symmetric(np.full((2, 2), -1.0)), symmetric(np.zeros((2, 2))), 4, True)
    text = interactions_markdown(names_of(2), one, "", True)
    assert pipe_tables(text) == {
        "The only redundant pair:": [["artist 000", "artist 001", "-1", "0"]]
    }


def test_markdown_says_what_the_numbers_rest_on():
    estimated = interactions_markdown(names_of(3), made_up(3), "", True)
    exact = interactions_markdown(names_of(3), made_up(3, exact=True), "", True)
    assert "estimated from 1,234 coalitions" in estimated
    assert "exact: all 1,234 coalitions" in exact


def test_markdown_escapes_names_and_units():
    text = interactions_markdown(NASTY, made_up(5), "a|b\n*c*", True)
    assert r"interaction \[a\|b \*c\*\]" in text
    assert r"x\|y\*z" in text
    assert r"two lines" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace(r"\|", "").count("|") == 5


@pytest.mark.parametrize("known", [True, False])
def test_unknown_errors_are_a_dash(known):
    text = interactions_markdown(names_of(4), made_up(4, known=known), "", True)
    assert ("nan" in text) is False
    assert all(
        (row[3] == "-") != known for row in [r for t in pipe_tables(text).values() for r in t]
    )


@pytest.mark.parametrize(
    "render", [interactions_csv, lambda *a: interactions_markdown(*a, "", True)]
)
def test_names_must_be_as_many_as_contributors(render):
    with pytest.raises(ValueError, match="expected the names of 4 contributors, got 3"):
        render(names_of(3), made_up(4))


# ------------------------------------------------------------------------------ the heat map


def drawn_square(picture):
    """Return the cells' area: from the first to the last longer run of the diagonal's grey."""
    grey = np.all(picture == [0xD9, 0xD9, 0xD9], axis=2)
    rows, columns = (np.flatnonzero(grey.sum(axis=axis) > 50) for axis in (1, 0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def cell_colours(path, n):
    """Return the colour of each cell near its corner, where there is no dot, (n, n, 3)."""
    square = drawn_square(pixels(path))
    height, width = len(square) / n, square.shape[1] / n
    places = np.arange(n) + 0.2
    return square[(places * height).astype(int)][:, (places * width).astype(int)]


def test_chart_is_a_png_of_equal_bytes_without_date_or_version(tmp_path):
    for name in ("a.png", "b.png"):
        interaction_chart(names_of(5), made_up(5), "fid", "FID", False, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.width == CHART_INCHES * DPI
        assert set(image.info) == {"dpi"}


def test_colours_are_blue_above_zero_orange_below_and_white_at_it(tmp_path):
    values = np.array([[0, 2, -2], [2, 0, 0.0], [-2, 0, 0]])
    found = Interactions(symmetric(values), symmetric(np.full((3, 3), 0.1)), 10, False)
    interaction_chart(names_of(3), found, "p", "", True, tmp_path / "map.png")
    order = side_by_side(found.values)
    cells = cell_colours(tmp_path / "map.png", 3)
    blue, orange = (
        [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        for colour in (heat_map.ABOVE, heat_map.BELOW)
    )
    expected = {2: blue, -2: orange, 0: [255, 255, 255]}
    for i, j in combinations(range(3), 2):
        wanted = expected[int(values[order[i], order[j]])]
        for cell in (cells[i, j], cells[j, i]):
            np.testing.assert_allclose(cell, wanted, atol=2)


@pytest.mark.parametrize(
    ("higher_is_better", "meaning"),
    [
        (True, "orange: redundant, blue: complementary"),
        (False, "orange: complementary, blue: redundant (lower is better)"),
    ],
)
def test_it_is_written_what_the_colours_mean(higher_is_better, meaning, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(heat_map, "save", lambda figure, path: drawn.append(figure))
    path = tmp_path / "map.png"
    interaction_chart(names_of(3), made_up(3), "p", "", higher_is_better, path)
    assert meaning in drawn[0].axes[0].get_title(loc="left").splitlines()


def test_those_who_interact_alike_stand_side_by_side():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat([0, 1, 2], 4))
    between = np.array([[-3.0, 1, 0], [1, 2, -1], [0, -1, 0]])
    values = symmetric(between[group][:, group] + rng.normal(0, 0.1, (12, 12)))
    order = side_by_side(values)
    assert sorted(order) == list(range(12))
    assert (np.diff(group[order]) != 0).sum() == 2


def test_of_many_contributors_the_strongest_are_drawn(tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr(heat_map, "_label_contributors", lambda axes, names: labels.extend(names))
    n = heat_map.MOST_SHOWN + 15
    values = made_up(n).values
    values[:15] *= 1e-3
    values[:, :15] *= 1e-3
    found = Interactions(values, np.abs(values), 9000, False)
    interaction_chart(names_of(n), found, "fid", "", False, tmp_path / "many.png")
    assert sorted(labels) == names_of(n)[15:]


def test_dots_mark_what_is_known_to_differ_from_zero(tmp_path):
    values = symmetric(np.array([[0, 1.0, 1], [0, 0, 1], [0, 0, 0]]))
    counts = {}
    for error in (0.1, 0.4, 0.6, 0.0, np.nan):
        found = Interactions(values, symmetric(np.full((3, 3), error)), 10, False)
        interaction_chart(names_of(3), found, "p", "", True, tmp_path / "map.png")
        square = drawn_square(pixels(tmp_path / "map.png"))
        counts[error] = int((square.max(axis=2) < 60).sum())
    known, sure, unsure, exact, unknown = counts.values()
    assert known == sure > 0
    assert unsure == exact == unknown == 0


@pytest.mark.parametrize("name", ["$x_1^2$", "two\nlines", "\\frac", "x" * 200])
def test_names_are_drawn_as_they_are(name, tmp_path):
    interaction_chart([name, "b", "c"], made_up(3), "p_$", "%$_", True, tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        assert image.width == CHART_INCHES * DPI
    assert drawn_square(pixels(tmp_path / "map.png")).shape[0] > 200


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e9])
def test_any_scale_can_be_drawn(value, tmp_path):
    found = Interactions(symmetric(np.full((2, 2), value)), symmetric(np.zeros((2, 2))), 4, True)
    interaction_chart(names_of(2), found, "p", "", True, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 0


def test_chart_refuses_names_of_others(tmp_path):
    with pytest.raises(ValueError, match="expected the names of 4 contributors, got 3"):
        interaction_chart(names_of(3), made_up(4), "p", "", True, tmp_path / "map.png")


def test_pyplot_and_its_global_state_stay_out():
    code = "import sys, crediting.reporting.heat_map; print('matplotlib.pyplot' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
