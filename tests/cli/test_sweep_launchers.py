"""Sweeps whose studies run in parallel, by Hydra's launchers: one store, one ledger, no surprises.

They share the base model, the pruned one and the game, and begin at the same time.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress

import pytest

pytestmark = pytest.mark.slow
LAUNCHERS = {
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": (
        *("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=600"),
        "hydra.launcher.gpus_per_node=1",
    ),
}
"""The words of the README."""
TABLE = "ann,bob,fid\n0,0,1.5\n1,0,2.5\n0,1,3.5\n1,1,7.5\n"


def tables(outputs):
    found = outputs.glob("studies/*/shapley_*.csv")
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


def rows(outputs, table):
    """Return how many rows a table of the only ledger has, and of how many keys."""
    (path,) = outputs.glob("store/game-*/ledger.sqlite")
    connection = sqlite3.connect(path)
    ((rows, keys),) = connection.execute(
        "SELECT COUNT(*), COUNT(DISTINCT coalition || replicate || property_fingerprint) "
        f"FROM {table}"
    )
    connection.close()
    return rows, keys


@pytest.fixture(scope="module")
def launched(run_credit, credit):
    """Return a function that runs `credit` with some launcher.

    Workers of joblib would outlive a process that was forked.
    """

    def run(launcher, *words, **options):
        command = run_credit if launcher == "joblib" else credit
        return command("-m", LAUNCHERS.get(launcher, ()), *words, **options)

    return run


@pytest.fixture(scope="module")
def sweep(launched, miniature, tmp_path_factory):
    """Return a function that runs a sweep of two studies and returns its outputs and its words."""

    def run(launcher=None):
        folder = tmp_path_factory.mktemp("sweep")
        kept = [word for word in miniature if not word.startswith("plan.coalitions")]
        studies = ("plan.coalitions=8", "property=[fid]", "estimator=bayesian,regression_adjusted")
        finished = launched(launcher, kept, studies, cwd=folder)
        assert finished.returncode == 0, finished.stderr
        return folder / "outputs", finished

    return run


@pytest.fixture(scope="module")
def one_after_the_other(sweep):
    return sweep()[0]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_parallel_studies_share_everything_and_end_as_serial_ones(
    launcher, sweep, one_after_the_other
):
    outputs, finished = sweep(launcher)
    assert tables(outputs) == tables(one_after_the_other)
    assert len(tables(outputs)) == 2
    recorded, keys = rows(outputs, "evaluations")
    assert (recorded, keys) == rows(one_after_the_other, "evaluations")
    assert recorded == keys > 0
    assert rows(outputs, "disagreements") == (0, 0)
    for stage in ("model", "sparse", "examples", "extractor", "game"):
        assert len(list(outputs.glob(f"store/{stage}-*"))) == 1
    said = finished.stderr + "".join(
        path.read_text() for path in outputs.glob("sweeps/*/*/.submitit/*/*_log.err")
    )
    assert said.count("train: making") == 1
    assert said.count("train: reused") == 1
    assert "[0] " in said
    assert "[1] " in said
    if launcher == "joblib":
        told = finished.stdout.splitlines()
        assert {line[:4] for line in told if line.strip()} == {"[0] ", "[1] "}
    assert "Traceback" not in said


def test_a_killed_sweep_takes_its_studies_with_it(miniature, tmp_path):
    """What they say on stderr ends only when all of them have ended."""
    endless = [word for word in miniature if not word.startswith("model.training.steps")]
    words = ("-m", *LAUNCHERS["joblib"], *endless, "model.training.steps=1000000", "seed=0,1")
    sweep = subprocess.Popen(
        [sys.executable, "-m", "crediting", *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        training: set[str] = set()
        while training != {"[0] train", "[1] train"}:
            line = sweep.stderr.readline()
            assert line
            training |= {line[:9]} if line[4:9] == "train" else set()
        sweep.kill()
        sweep.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(sweep.pid, signal.SIGKILL)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_mistake_in_a_parallel_study_ends_as_in_any_other(launcher, launched, tmp_path):
    (tmp_path / "game.csv").write_text(TABLE)
    finished = launched(
        *(launcher, "+experiment=recorded", "game.path=game.csv"),
        *("estimator=exact,kernel_shap", "game.lower_is_better=[nix]"),
        cwd=tmp_path,
    )
    assert finished.returncode == 2, finished.stderr
    assert "Traceback" not in finished.stderr
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("credit: game.lower_is_better: expected properties of")


def test_what_a_parallel_study_lacks_is_fetched_with_its_own_words(launched, tmp_path):
    finished = launched("submitit_local", "+experiment=cifar_ddpm", "seed=3", cwd=tmp_path)
    assert finished.returncode == 2
    fetching = finished.stderr.splitlines()[-1].strip()
    assert fetching == "credit stage=fetch +experiment=cifar_ddpm seed=3"
