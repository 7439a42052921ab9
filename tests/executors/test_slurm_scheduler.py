"""The same on what submitit takes for SLURM: its commands, played by processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import evaluators_for_tests as evaluators
import fake_slurm
import pytest
from evaluators_of_jobs import Identified, evaluations
from submitit.helpers import DelayedSubmission

from crediting.errors import EvaluationError
from crediting.executors import Slurm

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The folder of what the cluster knows."""
    folder = tmp_path / "bin"
    fake_slurm.install(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return folder


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def executor(folder, **settings):
    usual = {
        "cluster": "slurm",
        "folder": str(folder / "slurm"),
        "workers": 2,
        "jobs_per_submission": 2,
        "timeout_min": 60,
        "parameters": {},
        "retries": 1,
        "poll_seconds": 0.2,
    }
    return Slurm(**{**usual, **settings})


def scores(outcomes) -> dict[str, float]:
    return {outcome.task.coalition: outcome.values["score"] for outcome in outcomes}


def squares(count: int) -> dict[str, float]:
    return {str(n): n**2 for n in range(count)}


def submissions(cluster) -> list[str]:
    return [path.read_text() for path in sorted((cluster / "submissions").iterdir())]


def states(cluster) -> list[str]:
    return [path.read_text() for path in sorted((cluster / "jobs").glob("*.state"))]


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waiting(notes) -> list[int]:
    return [int(path.name.split("-")[1]) for path in notes.glob("waiting-*")]


def test_all_is_one_array_with_what_the_parameters_ask_for(cluster, notes, tmp_path):
    asked = {"slurm_partition": "gpu", "gpus_per_node": 1, "cpus_per_task": 3, "mem_gb": 20}
    slurm = executor(tmp_path, parameters={**asked, "slurm_account": None})
    outcomes = list(slurm.run(Identified(notes, threads=True), evaluators.jobs(5)))
    assert scores(outcomes) == dict.fromkeys(squares(5), 3)
    (script,) = submissions(cluster)
    options = {line.removeprefix("#SBATCH --") for line in script.splitlines()}
    assert {"partition=gpu", "gpus-per-node=1", "cpus-per-task=3", "mem=20GB"} <= options
    assert {"array=0-2%2", "time=60"} <= options
    assert "account" not in script
    submitted = DelayedSubmission.load(tmp_path / "slurm/logs/1_0_submitted.pkl")
    assert submitted._timeout_countdown == 1  # as often as retries say


def test_a_killed_task_is_submitted_again_and_repeats_nothing(cluster, notes, tmp_path):
    make = Identified(notes, deaths={"1": 1})
    outcomes = executor(tmp_path, jobs_per_submission=3).run(make, evaluators.jobs(3))
    assert scores(outcomes) == squares(3)
    assert evaluations(notes) == {str(n): 1 for n in range(3)}
    assert len(submissions(cluster)) == 2


def test_a_pre_empted_task_is_queued_again_and_repeats_nothing(cluster, notes, tmp_path):
    make = Identified(notes, waits_for=notes / "go", on="1")
    with closing(executor(tmp_path, jobs_per_submission=3).run(make, evaluators.jobs(3))) as out:
        first = next(out)
        wait_until(lambda: waiting(notes))
        os.kill(waiting(notes)[0], signal.SIGTERM)  # what SLURM sends before
        os.kill(waiting(notes)[0], signal.SIGUSR2)
        wait_until(lambda: len(waiting(notes)) == 2)
        (notes / "go").touch()
        assert scores([first, *out]) == squares(3)
    assert evaluations(notes) == {str(n): 1 for n in range(3)}
    assert len(submissions(cluster)) == 1


DRIVER = """
import sys
from pathlib import Path
import evaluators_for_tests as evaluators
from evaluators_of_jobs import Identified
from test_slurm_scheduler import executor
folder, notes = map(Path, sys.argv[1:])
make = Identified(notes, waits_for=notes / "go", on="1")
for outcome in executor(folder, jobs_per_submission=4).run(make, evaluators.jobs(4)):
    print(outcome.task.coalition, flush=True)
"""


def test_what_a_killed_driver_submitted_is_waited_for(cluster, notes, tmp_path):
    """The second driver comes while a task is in work, and submits only what is new."""
    words = [sys.executable, "-c", DRIVER, str(tmp_path), str(notes)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout.readline() == "0\n"
        wait_until(lambda: waiting(notes))
        driver.kill()
    with closing(executor(tmp_path).run(Identified(notes), evaluators.jobs(6)[1:])) as outcomes:
        found = [next(outcomes), next(outcomes)]
        assert sorted(scores(found)) == ["4", "5"]
        (notes / "go").touch()
        found += outcomes
    assert scores(found) == {k: v for k, v in squares(6).items() if k != "0"}
    assert evaluations(notes) == {str(n): 1 for n in range(6)}
    assert len(submissions(cluster)) == 2


def test_closing_the_outcomes_cancels_what_goes_on(cluster, notes, tmp_path, capfd):
    make = Identified(notes, waits_for=notes / "never", on="1")
    with closing(executor(tmp_path).run(make, evaluators.jobs(4))) as outcomes:
        next(outcomes)
        wait_until(lambda: waiting(notes))
    assert "CANCELLED by 0" in states(cluster)
    # a job that has nothing left to do is not cancelled, and the cluster learns of its end later
    wait_until(lambda: not {"RUNNING", "PENDING"} & set(states(cluster)))
    assert capfd.readouterr() == ("", "")


def test_a_scheduler_that_refuses_is_one_message(cluster, notes, tmp_path):
    (cluster / "sbatch").write_text("#!/bin/sh\necho invalid partition specified >&2\nexit 1\n")
    with pytest.raises(EvaluationError, match=r"executor\.parameters.*invalid partition"):
        list(executor(tmp_path).run(Identified(notes), evaluators.jobs(1)))


KILLED_IN_BETWEEN = """
import os, signal
from crediting.executors.spool import Spool
note = Spool.note_submission
def note_unless_killed(spool, token, cluster_id, tasks):
    if cluster_id is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    note(spool, token, cluster_id, tasks)
Spool.note_submission = note_unless_killed
"""


def test_a_job_that_its_driver_never_knew_of_ends_when_the_next_has_begun(cluster, notes, tmp_path):
    """The first driver is killed as soon as the cluster has the job; that is in work meanwhile."""
    script = KILLED_IN_BETWEEN + DRIVER.replace('on="1"', 'on="0"')
    subprocess.run([sys.executable, "-c", script, str(tmp_path), str(notes)], check=False)
    wait_until(lambda: waiting(notes))
    outcomes = executor(tmp_path, jobs_per_submission=4).run(Identified(notes), evaluators.jobs(4))
    assert scores(outcomes) == squares(4)
    (notes / "go").touch()
    wait_until(lambda: states(cluster) == ["COMPLETED", "COMPLETED"])
    assert evaluations(notes) == {"0": 2, "1": 1, "2": 1, "3": 1}


SBATCH_AND_CTRL_C = """
import os, signal, subprocess, sys
subprocess.run(["submit", *sys.argv[1:]], check=True)
for process in (os.getppid(), os.getpid()):
    os.kill(process, signal.SIGINT)
"""


def test_an_interrupt_while_jobs_are_submitted_leaves_none_of_them_behind(
    cluster, notes, tmp_path, request
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # scripts may ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    (cluster / "sbatch").rename(cluster / "submit")
    (cluster / "sbatch").write_text(f"#!{sys.executable}\n{SBATCH_AND_CTRL_C}")
    (cluster / "sbatch").chmod(0o755)
    make = Identified(notes, waits_for=notes / "never", on="0")
    with pytest.raises(KeyboardInterrupt):
        list(executor(tmp_path).run(make, evaluators.jobs(4)))
    assert len(submissions(cluster)) == 1
    assert states(cluster) == ["CANCELLED by 0", "CANCELLED by 0"]
