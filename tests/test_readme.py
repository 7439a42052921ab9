"""Every command that the README shows is run, at miniature size."""

import csv
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_inception import look_at_less

from crediting import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
BLOCKS = [text for kind, text in FENCES if kind == "bash"]
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [shlex.split(line) for line in LINES if line]
IN_TEXT = [shlex.split(c) for c in re.findall(r"`((?:credit|make|python) [^`]+)`", README)]
ALL = [list(words) for words in dict.fromkeys(map(tuple, [*COMMANDS, *IN_TEXT]))]
CREDIT = [words[1:] for words in ALL if words[0] == "credit"]
OF_THE_SCRIPT = ["+experiment=cifar_ddpm", "+proof=cifar_ddpm", "stage=compare"]
"""What scripts/reproduce_paper runs, which has tests of its own that run it in little."""
OF_THE_PROOF = {"+experiment=digits_proof", "stage=compare"}
IN_PARALLEL = [words for words in CREDIT if any(w.startswith("hydra/launcher=") for w in words)]
"""Sweeps of studies in processes of their own, which have tests of their own with these words."""
RUN_HERE = [words for words in CREDIT if words != OF_THE_SCRIPT and words not in IN_PARALLEL]


def test_every_command_is_of_a_kind_that_is_run_here():
    assert {words[0] for words in ALL} == {"credit", "make", "python"}
    assert len(CREDIT) >= 12
    tested = ("bash", "console")
    assert not [t for kind, t in FENCES if kind not in tested and re.search(r"^credit ", t, re.M)]


MADE_SMALL = (
    *("cifar_ddpm", "celeba_ldm", "artbench_sd_lora", "image_folder"),
    *("digits_planted", "digits_proof"),
)
"""Experiments that are run in their own miniature, most on miniature files of the real formats."""

STAND_INS = {
    "model.pretrained=google/ddpm-cifar10-32": "model.pretrained=miniature/models/ddpm-32",
    "dataset.size=256": "dataset.size=64",
    "dataset.size=64": "dataset.size=40",
    "model.unet.sample_size=64": "model.unet.sample_size=40",
    "executor.address=auto": "executor.address=null",
    "executor.gpus_per_worker=0.25": "executor.gpus_per_worker=0",
    "executor.parameters.slurm_partition=gpu": "executor.cluster=local",
    "executor.parameters.gpus_per_node=1": "executor.jobs_per_submission=99",
    "executor.workers=2": "executor.jobs_per_submission=99",
    "calibrate.images=[1000,2500,5000]": "calibrate.images=[1]",
    "plan.coalitions=200": "plan.coalitions=20",
    "plan.finetuning_steps=200": "plan.finetuning_steps=4",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with the miniature files, as the command of the README writes them."""
    assert ["python", "scripts/miniature_files.py"] in ALL
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["miniature_files.py"])
        runpy.run_path(str(ROOT / "scripts" / "miniature_files.py"), run_name="__main__")
    shutil.copytree(
        folder / "miniature/data/photos",
        folder / "photos",
        ignore=lambda _, names: {name for name in names if name[0] in "345"},
    )
    lines = (folder / "miniature/data/photos.csv").read_text().splitlines()
    there = [line.removeprefix("photos/") for line in lines if not re.search(r"/[345]\.", line)]
    (folder / "photos.csv").write_text("\n".join(there))
    shutil.copy(ROOT / "benchmarks/estimators/digits_game.csv", folder / "utilities.csv")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("arguments", RUN_HERE, ids=" ".join)
@pytest.mark.usefixtures("undurable")
def test_credit_commands(arguments, place, miniature, monkeypatch, capsys, request):
    """In this process, so that the libraries are imported once; results are shared."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["credit", *shrunk(arguments, miniature)])
    look_at_less(monkeypatch.setattr)
    if arguments:  # the default study draws all figures that there are
        request.getfixturevalue("undrawn")
    code = exit_code(cli.main)
    told = capsys.readouterr()
    if "runtime.device=cuda" in arguments and not torch.cuda.is_available():
        assert code == 2
        assert "there is no cuda here" in told.err
    else:
        assert code == 0, told.err
        assert told.out or "stage=fetch" in arguments
    if arguments == ["+experiment=image_folder", "dataset.root=photos"]:
        check_tables(place / "outputs/studies/image_folder_miniature")


def check_tables(folder):
    facts = json.loads((folder / "manifest.json").read_text())
    assert {*facts["properties"]} == {"inception_score", "fid"}
    for name, values in facts["properties"].items():
        with (folder / f"shapley_{name}.csv").open() as file:
            credits = {row["contributor"]: float(row["credit"]) for row in csv.DictReader(file)}
        assert {*credits} == {*(folder.name for folder in Path("photos").iterdir())}
        assert any(credits.values())
        worth = values["v_full"] - values["v_empty"]
        assert sum(credits.values()) == pytest.approx(worth, abs=1e-9)
        assert (folder / f"images_{name}.png").stat().st_size > 0
    pruned = facts["facts"]["prune"]
    assert pruned["parameters_after"] < pruned["parameters_before"]


def exit_code(command):
    try:
        command()
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.mark.slow
def test_own_images_as_the_readme_shows_them(tmp_path, miniature, credit):
    (module,) = re.findall(r"```python\n(# my_images.py.*?)```", README, re.DOTALL)
    (option,) = re.findall(r"```yaml\n(# mine/dataset/my_images.yaml.*?)```", README, re.DOTALL)
    (command,) = re.findall(r"```console\nPYTHONPATH=. credit (.*?)```", README, re.DOTALL)
    (tmp_path / "my_images.py").write_text(module)
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    (tmp_path / "mine" / "dataset" / "my_images.yaml").write_text(option)
    random = np.random.default_rng(0)
    for part, owners in (("train", ["ada", "bo", "cy"]), ("reference", ["cats", "dogs"])):
        for owner in owners:
            folder = tmp_path / "photos" / part / owner
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    shrunk = [word for word in miniature if not word.startswith(("partition", "design"))]
    here = {"PYTHONPATH": "."}
    done = credit(shlex.split(command), *shrunk, cwd=tmp_path, env=here, drawn=False)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "outputs/studies/my_images/shapley_fid.csv").read_text()
    assert {line.split(",")[0] for line in table.splitlines()[1:]} == {"ada", "bo", "cy"}


def test_coalitions_for_code_of_ones_own_as_the_readme_draws_them(tmp_path, credit, capsys):
    (drawing,) = re.findall(r"```python\n(from crediting.design.*?)```", README, re.DOTALL)
    exec(drawing)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 60
    rows += ["0" + ",0" * 9, "1" + ",1" * 9]
    worth = [f"{row},{row.count('1')}" for row in rows]
    names = ",".join("abcdefghij")
    (tmp_path / "utilities.csv").write_text("\n".join([f"{names},quality", *worth]))
    done = credit("+experiment=recorded", "game.path=utilities.csv", cwd=tmp_path, drawn=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "outputs/studies/recorded/shapley_quality.csv").open() as file:
        assert {row["credit"]: 1 for row in csv.DictReader(file)} == {"1.0": 1}


FEW_SETTINGS = (
    *("calibrate.finetuning_steps=[0.5]", "calibrate.generation_steps=[0.5]"),
    *("calibrate.sampler_steps=[]", "calibrate.coalitions=6", "generation.images=4"),
)
FEW_COALITIONS = ("plan.coalitions=6",)
FEW_OF_THE_PROOF = (
    *("property=[inception_score]", "compare.alphas=[0.5]", "plan.coalitions=22"),
    *("method.dense_shapley.design.budget=4", "method.retrain_shapley.design.budget=4"),
    *("method.gradient_ascent.design.budget=4", "method.influence_unlearning.design.budget=4"),
    *("method.longer.design.budget=4", "compare.trainings=1", "compare.steps=[1]"),
)
FEW_OF_CIFAR = (
    *("dataset.classes=[lamp,leopard,otter,pear]", "calibrate.finetuning_steps=[]"),
    *("calibrate.generation_steps=[0.5]", "calibrate.sampler_steps=[]", "calibrate.coalitions=4"),
    "property=[inception_score]",
)
"""Each image takes a fifth of a second of Inception."""


def shrunk(arguments, miniature):
    """Return a command line that does the same in little."""
    few = FEW_SETTINGS if "stage=calibrate" in arguments else ()
    if arguments[:1] == ["--help"]:
        return arguments
    outputs = "paths.outputs=outputs"
    if "+experiment=recorded" in arguments:
        return [*arguments, outputs]
    stand_ins = [STAND_INS.get(word, word) for word in arguments]
    if not any(f"+experiment={name}" in arguments for name in MADE_SMALL):
        fitting = (word for word in miniature if fits(word, arguments))
        return [*stand_ins, outputs, *fitting, *few]
    small = [word for word in stand_ins if word != "+size=miniature"]
    if few and "+experiment=cifar_ddpm" in arguments:
        few = FEW_OF_CIFAR
    elif not set(arguments) >= OF_THE_PROOF:
        few = FEW_COALITIONS
    if "+experiment=digits_planted" in arguments:  # all 64 coalitions
        few = ["replicates=1", "property=[fid]"]
    if set(arguments) >= OF_THE_PROOF:
        few = FEW_OF_THE_PROOF
    return [*small, "+size=miniature", "executor=serial", outputs, *few]


def fits(override, arguments):
    """Return whether a shrinking override goes with a command's own choices."""
    key, _, _ = override.partition("=")
    if key in [word.lstrip("+").partition("=")[0] for word in arguments]:
        return False
    if "runtime.device=cuda" in arguments and key.startswith("runtime"):
        return False
    if "executor.workers=1" in arguments and key == "executor":
        return False
    return not ("+experiment=digits_exact" in arguments and key.startswith("partition"))


@pytest.mark.parametrize("words", [w for w in ALL if w[0] == "make"], ids=" ".join)
def test_make_targets_exist(words):
    done = subprocess.run(
        [*words, "--dry-run", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_make_demo_runs_the_default_study():
    planned = subprocess.run(
        ["make", "--no-print-directory", "demo", "--dry-run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert planned.stdout.splitlines()[-1].strip() == ".venv/bin/credit"


def test_sweeps_in_parallel():
    """They are run by their own tests, on this machine instead of a cluster."""
    of_a_cluster = {"hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"}
    of_the_study = {"-m", "seed=0,1", "executor=serial"}
    tests = (ROOT / "tests/cli/test_sweep_launchers.py").read_text()
    assert {words[1] for words in IN_PARALLEL} == {
        *("hydra/launcher=joblib", "hydra/launcher=submitit_slurm"),
    }
    for words in IN_PARALLEL:
        for word in {*words} - of_a_cluster - of_the_study:
            assert f'"{word}"' in tests


def test_the_script_that_repeats_the_paper():
    """It is run by its own tests."""
    assert ["python", "scripts/reproduce_paper", "--size", "miniature"] in ALL
    assert OF_THE_SCRIPT in CREDIT
    assert (ROOT / "tests" / "test_reproduce_paper.py").exists()


@pytest.mark.slow
def test_the_fidelity_benchmark(monkeypatch, tmp_path, capsys):
    assert ["python", "benchmarks/fidelity.py"] in ALL
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fidelity.py", "--coalitions", "3", "--quick"])
    runpy.run_path(str(ROOT / "benchmarks" / "fidelity.py"), run_name="__main__")
    assert capsys.readouterr().out.count("Spearman") == 3


NO_ROWS = ("experiment", "size", "proof", "published", "parts")
"""Folders of configs whose rows are others, or that options begin with instead of being chosen."""


def test_tables_of_the_readme_name_every_option():
    for group in (ROOT / "configs").iterdir():
        if group.is_dir() and group.name not in NO_ROWS:
            row = next(
                line for line in README.splitlines() if line.startswith(f"| `{group.name}` |")
            )
            for option in group.glob("*.yaml"):
                assert f"`{option.stem}`" in row, f"{group.name}={option.stem}"


def test_files_that_the_readme_shows_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
