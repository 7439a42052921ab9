"""The script that repeats the paper's comparisons: what it runs, and one run of it."""

import csv
import importlib.machinery
import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from crediting import config

SCRIPT = Path(__file__).parent.parent / "scripts" / "reproduce_paper"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("reproduce_paper", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    return module


@pytest.fixture
def ran(script, monkeypatch):
    """Return the commands that were run instead of running them; `credit` ends with `ran.code`."""
    found = SimpleNamespace(commands=[], code=0)

    def run(command, **_):
        found.commands.append([str(word) for word in command[1:]])
        return SimpleNamespace(returncode=found.code if command[1] == "-m" else 0)

    monkeypatch.setattr(script.subprocess, "run", run)
    return found


def test_a_use_case_is_one_command_of_credit(script, ran, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert script.main(["celeba_ldm", "dataset.reference=faces", "~property.fid"]) == 0
    words = ["+experiment=celeba_ldm", "+proof=celeba_ldm", "stage=compare"]
    given = ["dataset.reference=faces", "~property.fid"]
    assert ran.commands == [["-m", "crediting", *words, *given]]
    told = capsys.readouterr().out
    assert f"credit {' '.join(words)} dataset.reference=faces '~property.fid'\n" in told
    assert "Tables" not in told


def test_all_use_cases_are_those_of_the_paper(script, ran):
    assert script.main([]) == 0
    chosen = [command[2].removeprefix("+experiment=") for command in ran.commands]
    published = {path.stem for path in (config.CONFIG_DIR / "published").iterdir()}
    assert set(chosen) == published - {"none"}
    assert len(chosen) == 3


@pytest.mark.parametrize(
    "words",
    [["--size", "miniature", "cifar_ddpm", "seed=1"], ["cifar_ddpm", "seed=1", "--size=miniature"]],
)
def test_a_miniature_makes_its_files_first(words, script, ran):
    assert script.main(words) == 0
    files, credit = ran.commands
    assert Path(files[0]) == SCRIPT.parent / "miniature_files.py"
    assert credit[2:5] == [
        "+experiment=cifar_ddpm",
        "+proof=cifar_ddpm_miniature",
        "+size=miniature",
    ]
    assert credit[5:] == ["stage=compare", "seed=1"]


def test_the_first_failure_ends_it_with_its_exit_code(script, ran):
    ran.code = 2
    assert script.main(["artbench_sd_lora", "cifar_ddpm"]) == 2
    assert len(ran.commands) == 1


def test_it_says_where_tables_lie(script, ran, tmp_path, capsys):
    made = tmp_path / "studies" / "mine" / "compare"
    made.mkdir(parents=True)
    script.main(["cifar_ddpm", f"paths.outputs={tmp_path}", "name=mine"])
    assert capsys.readouterr().out.endswith(f"Tables and figures lie in\n  {made}\n")


def test_an_unknown_use_case_is_refused(script, ran, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["cifar_dpm"])
    assert stop.value.code == 2
    assert "there is no cifar_dpm; known: cifar_ddpm, celeba_ldm" in capsys.readouterr().err
    assert ran.commands == []


def test_the_script_can_be_executed_and_says_what_it_does():
    assert os.access(SCRIPT, os.X_OK)
    said = subprocess.run(
        [sys.executable, SCRIPT, "-h"], capture_output=True, text=True, check=True
    )
    assert "[--size miniature]" in said.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    yield folder
    shutil.rmtree(folder)  # pytest would keep the miniature files of the last three runs


@pytest.fixture
def forked(script, credit, place, monkeypatch):
    """Let the script's commands be run in forks, and return what they have said."""
    said = []

    def run(command, **_):
        if command[1] == "-m":
            finished = credit(*command[3:], cwd=place, small_inception=True)
            said.append(finished.stderr)
            return finished
        files, *arguments = map(str, command[1:])
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [files, *arguments])
            runpy.run_path(files, run_name="__main__")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(script.subprocess, "run", run)
    return said


LITTLE = ("plan.coalitions=6", "compare.trainings=1")
SMALL = {
    "celeba_ldm": ["dataset.celebrities=[17,63,65,95]"],
    "cifar_ddpm": [
        *("dataset.classes=[lamp,leopard,otter,pear]", "~property.fid", "~extractor.clean_fid"),
    ],
    "artbench_sd_lora": [],
}
"""Changes of use cases that are small already."""


@pytest.mark.slow
@pytest.mark.parametrize("use_case", SMALL)
def test_a_miniature_ends_in_a_table_beside_the_papers(
    use_case, script, resolved, forked, place, monkeypatch, capsys
):
    """By the script itself, whose commands are run where all is imported already."""
    published = resolved(f"published@compare.published={use_case}")["compare"]["published"]
    changes = [*SMALL[use_case], *LITTLE, "runtime.device=cpu", "executor=serial"]
    monkeypatch.chdir(place)
    assert script.main([use_case, "--size", "miniature", *changes]) == 0, forked
    folder = folder_of(place, use_case)
    assert str(folder) in capsys.readouterr().out
    with (folder / f"lds_{published['property']}.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    theirs = published["scores"]["0.5"]
    assert set(rows) == set(theirs) | set(published["budget"]) | {"das", "size", "mixture_proxy"}
    scores = [float(row["LDS alpha=0.5"]) for row in rows.values() if row["LDS alpha=0.5"]]
    assert all(-100.001 < score < 100.001 for score in scores)
    # images of the smallest models may all lie in one cluster: no order, no score
    assert scores or use_case == "celeba_ldm"
    printed = {key: float(row["published"]) for key, row in rows.items() if row["published"]}
    assert printed == {key: mean for key, (mean, _) in theirs.items()}
    assert published["differences"][0] in (folder / "compare.md").read_text()
    besides = (folder / "published.csv").read_text()
    assert all(what in besides for what in published["others"])
    assert f"{published['parameters']['full']:g} million" in besides
    assert [*folder.glob("*.png")]


def folder_of(place, use_case):
    return place / "outputs/studies" / f"{use_case}_miniature" / "compare"
