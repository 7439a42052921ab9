"""The exact Shapley values that the proof on digits compares with, and how an option ships them."""

import csv
import importlib.util
import itertools
from math import factorial
from pathlib import Path

import pytest

from crediting import config

ROOT = Path(__file__).parents[2]
GAME = ROOT / "benchmarks/estimators/digits_game.csv"
SHIPPED = config.CONFIG_DIR / "experiment/digits_proof_exact.csv"
PROPERTIES = {"inception_score": 1, "fid": -1, "diversity": 1}
"""With the sign by which more is better."""


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def game():
    """Return the contributors, and the utilities by the set of those who take part."""
    table = rows(GAME)
    names = [name for name in table[0] if name not in PROPERTIES]
    worth = {
        frozenset(name for name in names if row[name] == "1"): {
            name: float(row[name]) for name in PROPERTIES
        }
        for row in table
    }
    return names, worth


@pytest.mark.parametrize("measured", PROPERTIES)
def test_shipped_scores_are_shapley_values_by_their_definition(measured, game):
    names, worth = game
    n = len(names)
    assert len(worth) == 2**n
    expected = {}
    for who in names:
        others = [name for name in names if name != who]
        expected[who] = PROPERTIES[measured] * sum(
            factorial(size) * factorial(n - size - 1) / factorial(n)
            * (worth[frozenset({who, *chosen})][measured] - worth[frozenset(chosen)][measured])
            for size in range(n)
            for chosen in itertools.combinations(others, size)
        )  # fmt: skip
    found = {row["contributor"]: float(row[measured]) for row in rows(SHIPPED)}
    assert found == pytest.approx(expected, rel=1e-5)
    everything, nothing = worth[frozenset(names)][measured], worth[frozenset()][measured]
    handed_out = PROPERTIES[measured] * (everything - nothing)
    assert sum(found.values()) == pytest.approx(handed_out, rel=1e-4)


def test_the_script_writes_what_is_shipped():
    path = ROOT / "benchmarks/estimators/exact_scores.py"
    spec = importlib.util.spec_from_file_location("exact_scores", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.SCORES == SHIPPED
    assert script.exact_scores() == SHIPPED.read_text()


def test_the_proof_finds_them_from_anywhere_and_its_contributors_are_theirs(
    resolved, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found = resolved("+experiment=digits_proof")
    (node,) = found["compare"]["scores"].values()
    assert Path(node["file"]) == SHIPPED
    assert "longer base training" in node["note"]
    parts = config.build(found, ("dataset", "partition"))
    names = parts["partition"].partition(parts["dataset"].columns()).names
    assert [row["contributor"] for row in rows(SHIPPED)] == list(names)


def test_the_proof_can_do_without_them(resolved):
    found = resolved("+experiment=digits_proof", "~compare.scores.exact_of_default_study")
    assert found["compare"]["scores"] == {}
