"""A dataset, a property, a design and an estimator from outside the package, swapped in by name."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

HANDMADE = Path(__file__).parent / "handmade_study"
FROM_OUTSIDE = {"PYTHONPATH": str(HANDMADE)}
COMMAND = ["--config-dir", str(HANDMADE / "options"), "+experiment=handmade"]


@pytest.fixture(scope="module")
def folder(credit, miniature, tmp_path_factory) -> Path:
    """Return the folder of the finished study."""
    place = tmp_path_factory.mktemp("handmade")
    small = [word for word in miniature if not word.startswith(("partition", "design"))]
    finished = credit(COMMAND, small, cwd=place, env=FROM_OUTSIDE)
    assert finished.returncode == 0, finished.stderr
    assert "maker_0" in finished.stdout
    return place / "outputs/studies/handmade"


@pytest.mark.slow
def test_the_table_names_the_makers(folder):
    with (folder / "shapley_spread.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["contributor"] for row in rows) == ["maker_0", "maker_1", "maker_2"]
    assert all(np.isfinite(float(row["credit"])) for row in rows)


@pytest.mark.slow
def test_the_manifest_says_whose_parts_they_were(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    targets = {group: manifest["config"][group]["_target_"] for group in ("dataset", "design")}
    assert targets == {"dataset": "handmade.Stripes", "design": "handmade.Orders"}
    facts = manifest["properties"]["spread"]
    assert facts["estimator"] == "mean_joining"
    assert facts["efficiency_gap"] == pytest.approx(0, abs=1e-9)


def test_options_from_outside_are_listed(run_credit, tmp_path):
    listed = run_credit(COMMAND, "--help", cwd=tmp_path, env=FROM_OUTSIDE).stdout
    listed = re.sub(r"\s*\n {40,}", "  ", listed)
    for option in ("*stripes", "*spread", "*orders", "*mean_joining", "*handmade"):
        assert f"  {option}" in listed
    (datasets,) = [line for line in listed.splitlines() if line.strip().startswith("dataset ")]
    assert {"digits", "image_folder", "*stripes"} <= set(datasets.split())
