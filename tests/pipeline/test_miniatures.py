"""The three systems of the paper, from real files to Shapley tables."""

import csv
import importlib.util
import json
import sqlite3
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "miniature_files.py"
PROPERTIES = {
    "cifar_ddpm": {"inception_score", "fid"},
    "celeba_ldm": {"cluster_diversity"},
    "artbench_sd_lora": {"aesthetic_q90"},
}
"""That of folders of images is run where the README's commands are, on the same files."""
CONTRIBUTORS = {
    "cifar_ddpm": {"lamp", "leopard", "otter", "pear", "squirrel", "table"},
    "celeba_ldm": {"17", "63", "65", "95", "104", "122"},
    "artbench_sd_lora": None,  # as the files say
}
FEW_GRADIENTS = ("finetuning.draws=1", "finetuning.fisher_batches=2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with the miniature files in it."""
    spec = importlib.util.spec_from_file_location("miniature_files", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("miniatures")
    script.write(folder / "miniature")
    return folder


@pytest.fixture(scope="module")
def done(place, credit):
    """Return a function that runs `credit` beside the miniature files, and must succeed."""

    def run(*arguments, **options):
        finished = credit(*arguments, cwd=place, **options)
        assert finished.returncode == 0, finished.stderr
        return finished

    return run


def table(place, study, name):
    with (place / "outputs/studies" / study / f"shapley_{name}.csv").open() as file:
        return list(csv.DictReader(file))


def manifest(place, study):
    return json.loads((place / "outputs/studies" / study / "manifest.json").read_text())


@pytest.mark.parametrize("experiment", PROPERTIES)
def test_an_experiment_ends_in_shapley_tables(experiment, place, done):
    # one of them in processes, as it comes: each of these would import everything again
    executor = [] if experiment == "celeba_ldm" else ["executor=serial"]
    words = (f"+experiment={experiment}", "+size=miniature", "plan.coalitions=6")
    done(*words, *executor)
    study = f"{experiment}_miniature"
    facts = manifest(place, study)
    assert set(facts["properties"]) == PROPERTIES[experiment]
    for name in PROPERTIES[experiment]:
        rows = table(place, study, name)
        credits = [float(row["credit"]) for row in rows]
        worth = facts["properties"][name]["v_full"] - facts["properties"][name]["v_empty"]
        assert sum(credits) == pytest.approx(worth, abs=1e-9)
        assert any(credits)
        assert len({row["contributor"] for row in rows}) == len(rows)
        named = CONTRIBUTORS[experiment]
        assert named is None or {row["contributor"] for row in rows} == named
        assert (place / f"outputs/studies/{study}/images_{name}.png").stat().st_size > 0
    pruned = facts["facts"]["prune"]
    assert pruned["parameters_after"] < pruned["parameters_before"]

    again = done(*words, "executor=serial", drawn=False)
    assert ", 0 to evaluate" in again.stderr
    assert "making" not in again.stderr


def test_utilities_differ_between_coalitions(place):
    """A pipeline whose images do not depend on the coalition would give one value only."""
    ledgers = sorted((place / "outputs/store").glob("game-*/ledger.sqlite"))
    assert len(ledgers) == len(PROPERTIES)
    for ledger in ledgers:
        connection = sqlite3.connect(ledger)
        rows = connection.execute("SELECT property, value FROM evaluations").fetchall()
        connection.close()
        by_property: dict[str, set[float]] = {}
        for name, value in rows:
            by_property.setdefault(name, set()).add(value)
        assert all(len(values) > 1 for values in by_property.values())


@pytest.mark.parametrize(
    ("experiment", "finetuning", "changes"),
    [
        ("celeba_ldm", "retrain", ["pruning=none"]),
        ("celeba_ldm", "gradient_ascent", []),
        ("celeba_ldm", "influence_unlearning", [*FEW_GRADIENTS, "finetuning.batch_size=8"]),
        ("celeba_ldm", "lora", ["finetuning.rank=2"]),
        ("artbench_sd_lora", "retrain", ["pruning=none"]),
        ("artbench_sd_lora", "gradient_ascent", []),
        ("artbench_sd_lora", "influence_unlearning", [*FEW_GRADIENTS, "finetuning.batch_size=8"]),
    ],
)
def test_every_fine_tuning_on_latent_models(experiment, finetuning, changes, place, done):
    (name,) = PROPERTIES[experiment]
    done(
        f"+experiment={experiment}",
        "+size=miniature",
        f"name={finetuning}",
        f"finetuning={finetuning}",
        *changes,
        "generation.images=4",
        "generation.steps=2",
        "estimator=bayesian",
        "plan.coalitions=2",
        "executor=serial",
        drawn=False,
    )
    assert len(table(place, finetuning, name)) == 6


def test_many_properties_of_one_latent_model(place, done):
    """Images are generated once; every extractor and property reads them."""
    names = ["fid", "kid", "precision", "recall", "aesthetic_mean", "aesthetic_median"]
    done(
        "+experiment=celeba_ldm",
        "+size=miniature",
        "name=many",
        "extractor=[blip_vqa,aesthetic]",
        f"property=[{','.join([*names, 'cluster_diversity'])}]",
        "extractor.aesthetic.weights=miniature/models/clip-vit-large-patch14",
        "extractor.aesthetic.head=miniature/models/sa_0_4_vit_l_14_linear.pth",
        "runtime.keep_images=true",
        "generation.images=8",
        "executor=serial",
        drawn=False,
    )
    assert all(len(table(place, "many", name)) == 6 for name in names)
