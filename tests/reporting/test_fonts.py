"""Names in scripts that the usual font has not."""

import warnings

import pytest

from crediting.reporting import fonts
from crediting.reporting.fonts import FIRST, lacking
from crediting.reporting.style import add_title, new_figure, save, short

APL = "⌽"  # in STIXGeneral, which comes with matplotlib, and not in DejaVu Sans
HIEROGLYPH = "\U00013000"  # in neither


@pytest.fixture
def drawn(tmp_path, capsys, monkeypatch):
    """Return what is said when a title is drawn, some fonts being installed, and the picture."""

    def draw(title, installed):
        monkeypatch.setattr(fonts, "_installed", lambda: installed)
        fonts._tell.cache_clear()
        figure = new_figure(3, 1)
        add_title(figure, title)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            save(figure, tmp_path / "figure.png")
            save(figure, tmp_path / "figure.png")
        return capsys.readouterr().err, (tmp_path / "figure.png").read_bytes()

    return draw


@pytest.mark.parametrize("name", ["José", "Ωμέγα", "Łódź", "Жук", "أحمد", "דוד"])
def test_the_usual_font_has_these_and_nothing_is_said(name, drawn):
    assert lacking([FIRST], name) == set()
    assert drawn(name, [])[0] == ""


def test_another_font_is_taken_where_it_is_installed(drawn):
    said, boxes = drawn(f"ann {APL}", [])
    assert f"no font of this machine has {APL}, so empty boxes" in said
    assert said.count("figures: ") == 1
    said, written = drawn(f"ann {APL}", ["STIXGeneral"])
    assert said == ""
    assert written != boxes
    assert f"has {HIEROGLYPH}," in drawn(f"{APL}{HIEROGLYPH}", ["STIXGeneral"])[0]


def test_the_fonts_looked_through_change_no_other_figure(drawn):
    assert drawn("ann", [])[1] == drawn("ann", ["STIXGeneral"])[1]


def test_the_middle_of_a_long_name_is_cut_out():
    names = [f"photographer_collection_archive_{number}" for number in range(70)]
    cut = [short(name, 24) for name in names]
    assert len(set(cut)) == 70
    assert {len(name) for name in cut} == {24}
    assert cut[5] == "photographer_col…chive_5"
    assert short("two\nlines", 9) == "two lines"
