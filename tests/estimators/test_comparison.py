"""The comparison of designs and estimators runs, and its toy games have the values they claim."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from crediting.game.coalition import all_coalitions
from crediting.game.enumeration import shapley_values

FOLDER = Path(__file__).parents[2] / "benchmarks" / "estimators"


@pytest.mark.slow
def test_the_comparison_runs_in_little(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", ["compare.py", "--quick", "--into", str(tmp_path)])
    runpy.run_path(str(FOLDER / "compare.py"), run_name="__main__")
    with (tmp_path / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    schemes = {row["scheme"] for row in rows}
    assert {"paired_uniform / bayesian", "shapley_kernel / kernel_shap"} <= schemes
    assert {row["times_n"] for row in rows} == {"3", "5"}
    text = (tmp_path / "results.md").read_text()
    for row in rows:
        assert float(row["median_error"]) >= 0
        assert f"`{row['scheme']}`" in text
    assert (tmp_path / "results.png").stat().st_size > 10_000


def test_toy_games_have_the_values_that_enumeration_finds(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from games import toy_game

    for seed in range(3):
        known = toy_game(8, 0.1, seed)
        found = shapley_values(known.game(all_coalitions(8)))
        np.testing.assert_allclose(found, known.values, atol=1e-9)
        again = known.seen(1)(all_coalitions(8))
        np.testing.assert_array_equal(again, known.seen(1)(all_coalitions(8)))
        noise = again - known.game(all_coalitions(8))
        assert noise.std() == pytest.approx(known.noise, rel=0.2)
