from crediting.reporting.formats import to_markdown
from crediting.reporting.page import report_markdown


def page(tables, **changes):
    arguments = {
        "title": "digits_ddpm",
        "tables": tables,
        "payout": None,
        "interactions": {"a_b": "Nobody is *redundant*."},
        "figures": {"Credits": "figures/a b.png"},
        "forecast": "To be twice as certain takes longer.",
        "fingerprints": {"train": "abc123"},
        "versions": {"numpy": "2.0"},
        "seconds": {"train": 720.0},
    }
    return report_markdown(**arguments | changes)


def test_page_holds_tables_figures_forecast_and_provenance(make_table):
    tables = [make_table(), make_table(higher_is_better=False)]
    text = page(tables)
    assert text.startswith("# digits\\_ddpm\n")
    assert all(to_markdown(table).strip() in text for table in tables)
    assert "## Interactions in a\\_b\n\nNobody is *redundant*.\n" in text
    assert "![Credits](figures/a%20b.png)" in text
    assert "To be twice as certain takes longer." in text
    assert "| train | abc123 |" in text
    assert "| train | about 12 minutes |" in text
    assert "| numpy | 2.0 |" in text
    assert text.endswith("|\n")


def test_empty_parts_leave_no_trace(make_table):
    text = page(
        [make_table()], interactions={}, figures={}, forecast="", versions={}, fingerprints={}
    )
    assert "Interactions" not in text
    assert "More certainty" not in text
    assert "## Figures" not in text
    assert "version" not in text
    assert "fingerprint" not in text
    assert "\n\n\n" not in text
