"""Killed with -9 at any moment and started again, a study ends in the same tables."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from miniature_study import read_ledgers

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def tables(outputs):
    return {path.name: path.read_bytes() for path in outputs.glob("studies/*/shapley_*")}


def test_kills_at_random_moments_change_no_table(tmp_path):
    ran = subprocess.run(
        [sys.executable, HERE / "kill_at_random.py", tmp_path, "11", "9"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("finished=False") >= 4, ran.stdout
    assert tables(tmp_path / "killed") == tables(tmp_path / "undisturbed") != {}


def count_recorded(outputs):
    return len(read_ledgers(outputs))


def test_the_command_is_killed_while_two_workers_evaluate(tmp_path, miniature, credit):
    """None and two workers, and a kill in between, give equal tables; no worker is left behind."""

    def words(name, *executor):
        chosen = [word for word in miniature if not word.startswith("executor")]
        return [*chosen, "design.budget=24", *executor, f"paths.outputs={tmp_path / name}"]

    with_two = words("killed", "executor=processes", "executor.workers=2")
    killed = subprocess.Popen(
        [sys.executable, "-m", "crediting", *with_two],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while count_recorded(tmp_path / "killed") == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    wait_until_the_session_is_empty(killed.pid)
    recorded = count_recorded(tmp_path / "killed")
    again = credit(with_two, cwd=tmp_path, drawn=False)
    assert again.returncode == 0, again.stderr
    assert recorded > 0
    assert f" {recorded // 3} reused" in again.stderr
    alone = credit(words("alone", "executor=serial"), cwd=tmp_path, drawn=False)
    assert alone.returncode == 0, alone.stderr
    assert tables(tmp_path / "killed") == tables(tmp_path / "alone") != {}


def wait_until_the_session_is_empty(session):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("workers outlived the killed command")
