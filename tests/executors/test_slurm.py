"""Jobs on a cluster, by submitit's local executor: processes of this machine that outlive us."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import evaluators_for_tests as evaluators
import pytest
from evaluators_of_jobs import Identified, evaluations

from crediting.errors import ConfigError, DeviceLostError, EvaluationError
from crediting.executors import Slurm, cluster
from crediting.executors.cluster import Cluster
from crediting.executors.slurm_job import Submission
from crediting.executors.spool import Spool, claimed, name_of
from crediting.executors.worker import Raised
from crediting.interfaces import Outcome, Task

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _jobs_can_import_the_evaluators(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.fixture
def slurm(tmp_path):
    """Return `slurm(**settings)`: an executor with jobs on this machine."""

    def make(**settings) -> Slurm:
        usual = {
            "cluster": "local",
            "folder": str(tmp_path / "slurm"),
            "workers": 2,
            "jobs_per_submission": "auto",
            "timeout_min": 60,
            "parameters": {},
            "retries": 1,
            "poll_seconds": 0.1,
        }
        return Slurm(**{**usual, **settings})

    return make


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def scores(outcomes) -> dict[str, float]:
    return {outcome.task.coalition: outcome.values["score"] for outcome in outcomes}


def squares(count: int) -> dict[str, float]:
    return {str(n): n**2 for n in range(count)}


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ------------------------------------------------------------------------------ all goes well


@pytest.mark.parametrize("size", [1, 3])
def test_every_task_has_one_outcome(slurm, notes, size):
    outcomes = list(slurm().run(Identified(notes), evaluators.jobs(10, size)))
    assert len(outcomes) == 10
    assert scores(outcomes) == squares(10)
    assert evaluations(notes) == {str(n): 1 for n in range(10)}


def test_a_submission_builds_one_evaluator_for_many_jobs(slurm, notes):
    executor = slurm(jobs_per_submission=3)
    assert scores(executor.run(Identified(notes), evaluators.jobs(6))) == squares(6)
    assert len(list(notes.glob("built-*"))) == 2


def test_auto_gives_every_worker_about_four_submissions(slurm, notes):
    list(slurm(workers=1).run(Identified(notes), evaluators.jobs(9)))
    assert len(list(notes.glob("built-*"))) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit's files
def test_debug_works_in_this_very_process(slurm, notes):
    outcomes = list(slurm(cluster="debug").run(Identified(notes), evaluators.jobs(3)))
    assert scores(outcomes) == squares(3)
    assert {outcome.device for outcome in outcomes} == {str(os.getpid())}


def test_without_tasks_nothing_is_submitted(slurm, notes, tmp_path):
    assert list(slurm().run(Identified(notes), [])) == []
    assert not (tmp_path / "slurm").exists()


def test_a_job_has_as_many_threads_as_processors(slurm, notes):
    make = Identified(notes, threads=True)
    executor = slurm(parameters={"cpus_per_task": 3, "mem_gb": None})
    assert scores(executor.run(make, evaluators.jobs(1))) == {"0": 3}


def test_nothing_is_left_in_the_spool(slurm, notes, tmp_path):
    list(slurm().run(Identified(notes), evaluators.jobs(4)))
    (folder,) = (tmp_path / "slurm/spool").iterdir()
    assert [path.name for path in folder.iterdir()] == [".lock"]


# ------------------------------------------------------------------------------ jobs that die


def test_a_killed_job_is_submitted_again_and_repeats_nothing(slurm, notes):
    make = Identified(notes, deaths={"3": 1})
    executor = slurm(workers=1, jobs_per_submission=8)
    assert scores(executor.run(make, evaluators.jobs(8))) == squares(8)
    assert evaluations(notes) == {str(n): 1 for n in range(8)}
    assert len(list(notes.glob("died-3-*"))) == 1


def test_an_array_task_whose_gpu_is_lost_ends_and_another_tries_again(slurm, notes):
    make = partial(evaluators.LosesItsGpu, notes, {"3": 1})
    executor = slurm(workers=1, jobs_per_submission=8)
    assert scores(executor.run(make, evaluators.jobs(8))) == squares(8)
    assert len(list(notes.glob("died-3-*"))) == 1


def test_a_task_that_always_kills_is_reported_and_all_others_are_done(slurm, notes):
    make = Identified(notes, deaths={"1": 99})
    executor = slurm(workers=1, jobs_per_submission=2)
    outcomes = list(executor.run(make, evaluators.jobs(6, size=3)))
    (dead,) = [outcome for outcome in outcomes if outcome.failures]
    assert dead.task.coalition == "1"
    assert "worker died 2 times" in dead.failures[""]
    assert (dead.values, dead.seed, dead.seconds, dead.device) == ({}, -1, 0.0, "unknown")
    done = [outcome for outcome in outcomes if outcome is not dead]
    assert scores(done) == {k: v for k, v in squares(6).items() if k != "1"}


def test_jobs_that_die_before_they_evaluate_are_no_endless_loop(slurm, notes):
    with pytest.raises(EvaluationError, match="died 2 times before it could evaluate anything"):
        list(slurm(workers=1).run(Identified(notes, dies=True), evaluators.jobs(5)))
    assert len(list(notes.glob("built-*"))) <= 4


def test_a_pre_empted_job_is_queued_again_and_repeats_nothing(slurm, notes):
    make = Identified(notes, waits_for=notes / "go", on="2")
    executor = slurm(workers=1, jobs_per_submission=5)
    with closing(executor.run(make, evaluators.jobs(5))) as outcomes:
        first = [next(outcomes), next(outcomes)]
        wait_until(lambda: list(notes.glob("waiting-*")))
        (waiting,) = notes.glob("waiting-*")
        os.kill(int(waiting.name.split("-")[1]), signal.SIGUSR2)
        wait_until(lambda: len(list(notes.glob("waiting-*"))) == 2)
        (notes / "go").touch()
        assert scores([*first, *outcomes]) == squares(5)
    assert evaluations(notes) == {str(n): 1 for n in range(5)}
    assert len(list(notes.glob("built-*"))) == 2


def test_checkpoints_hold_what_has_no_outcome(tmp_path):
    spool = Spool(tmp_path)
    submission = Submission(b"", evaluators.jobs(3), spool, "token", 1)
    spool.put(evaluators.outcome_of(Task("1", 0, ("score",)), 1.0))
    again = submission.checkpoint().function
    assert [job[0].coalition for job in again.jobs] == ["0", "2"]


def test_a_submission_that_nobody_knows_of_builds_and_evaluates_nothing(tmp_path, notes):
    spool = Spool(tmp_path / "spool")
    (job,) = evaluators.jobs(1)
    submission = Submission(pickle.dumps(Identified(notes)), [job], spool, "token", 1)
    submission()
    assert list(notes.iterdir()) == []
    spool.note_submission("token", None, job)
    submission()
    assert spool.outcome(*job).values == {"score": 0.0}


def test_a_stop_that_an_evaluator_takes_for_an_error_is_no_outcome(tmp_path):
    """Evaluators catch what a task raises, and a stop is raised in the midst of it."""
    spool = Spool(tmp_path)
    submission = Submission(b"", evaluators.jobs(1), spool, "token", 1)

    def evaluator(job):
        submission.checkpoint()
        return [Outcome(job[0], {}, {"": "timed out"}, seed=0, seconds=0.0, device="cpu")]

    assert not submission._evaluated(evaluator, evaluators.jobs(1)[0])
    assert spool.names() == set()


def test_a_gpu_that_is_lost_to_the_driver_itself_does_not_end_it(tmp_path, monkeypatch):
    """As with executor.cluster=debug."""
    monkeypatch.setattr(os, "_exit", lambda code: pytest.fail("the driver was ended"))
    job = evaluators.jobs(1)[0]
    spool = Spool(tmp_path)
    evaluator = evaluators.LosesItsGpu(tmp_path, {"0": 1})
    assert not Submission(b"", [job], spool, "token", 1)._evaluated(evaluator, job)
    with pytest.raises(DeviceLostError):
        spool.raise_what_was_raised()


# ------------------------------------------------------------------------------ drivers that die


DRIVER = """
import sys
from pathlib import Path
import evaluators_for_tests as evaluators
from evaluators_of_jobs import Identified
from crediting.executors import Slurm
folder, notes = map(Path, sys.argv[1:])
make = Identified(notes, waits_for=notes / "go", on="1")
for outcome in Slurm("local", str(folder), 1, 4, 60, {}, 1, 0.1).run(make, evaluators.jobs(6)):
    print(outcome.task.coalition, flush=True)
"""


@pytest.fixture
def killed_driver(tmp_path, notes):
    """A driver that was killed when the first job of four was done, and the second in work."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "slurm"), str(notes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stdout.readline() == "0\n"
        wait_until(lambda: list(notes.glob("waiting-*")))
        driver.kill()
        return driver


def test_late_results_of_a_killed_driver_count(killed_driver, slurm, notes, tmp_path):
    (notes / "go").touch()
    spooled = tmp_path / "slurm/spool" / Identified.identity / "outcomes"
    wait_until(lambda: len(list(spooled.glob("*.json"))) == 4)
    remaining = evaluators.jobs(6)[1:]  # the first was recorded
    outcomes = list(slurm(workers=1).run(Identified(notes), remaining))
    assert scores(outcomes) == {k: v for k, v in squares(6).items() if k != "0"}
    assert evaluations(notes) == {str(n): 1 for n in range(6)}


def test_what_a_killed_driver_left_is_nobody_elses(killed_driver, slurm, notes):
    (notes / "go").touch()
    make = Identified(notes)
    object.__setattr__(make, "identity", "another-game")
    assert scores(slurm().run(make, evaluators.jobs(3))) == squares(3)


def test_a_late_failure_or_error_is_tried_again(slurm, notes, tmp_path):
    spool = Spool(tmp_path / "slurm/spool" / Identified.identity)
    (task,) = evaluators.tasks(1)
    spool.put(Outcome(task, {}, {"": "out of memory"}, seed=0, seconds=1.0, device="cpu"))
    spool.put_raised(Raised("evaluating", "a slip that was mended", None))
    assert scores(slurm().run(Identified(notes), [(task,)])) == {"0": 0}


def test_two_drivers_at_once_do_not_share_a_spool(tmp_path):
    with claimed(tmp_path, "game") as first, claimed(tmp_path, "game") as second:
        assert first.folder != second.folder
    with claimed(tmp_path, "game") as third:
        assert third.folder == first.folder


def test_a_spool_that_no_other_driver_could_know_is_removed(tmp_path):
    with claimed(tmp_path, None) as spool:
        spool.put(evaluators.outcome_of(Task("1", 0, ("score",)), 1.0))
    assert list(tmp_path.iterdir()) == []


class EndsUnseen:
    """A scheduler whose jobs have ended when first asked for; what they wrote shows up later."""

    name, threads = "slurm", 1

    def __init__(self) -> None:
        self.submissions: list[Submission] = []
        self.looks: Counter[str] = Counter()

    def without_interrupts(self):
        return nullcontext()

    def submit(self, submissions):
        self.submissions += submissions
        return [SimpleNamespace(job_id=str(number)) for number in range(len(submissions))]

    def revived(self, cluster_id):
        return SimpleNamespace(job_id=cluster_id)

    def has_ended(self, job) -> bool:
        self.looks[job.job_id] += 1
        if self.looks[job.job_id] == 2 and self.submissions:
            for submission in self.submissions:
                for task in [task for job in submission.jobs for task in job]:
                    submission.spool.put(evaluators.outcome_of(task, int(task.coalition) ** 2))
        return True

    def cancel(self, jobs) -> None:
        pass

    let_exit = cancel


@pytest.fixture
def unseen(monkeypatch):
    """Let such a scheduler be that of every executor."""
    scheduler = EndsUnseen()
    monkeypatch.setattr(Slurm, "_made_cluster", lambda self: scheduler)
    return scheduler


def test_what_shows_up_after_the_end_of_a_job_is_not_submitted_again(slurm, notes, unseen):
    executor = slurm(jobs_per_submission=4, poll_seconds=0.01)
    assert scores(executor.run(Identified(notes), evaluators.jobs(4))) == squares(4)
    assert len(unseen.submissions) == 1


def test_the_end_of_another_drivers_job_uses_up_no_retry(slurm, notes, unseen, tmp_path):
    spool = Spool(tmp_path / "slurm/spool" / Identified.identity)
    spool.note_submission("token", "theirs", evaluators.tasks(2))
    executor = slurm(retries=0, poll_seconds=0.01)
    assert scores(executor.run(Identified(notes), evaluators.jobs(2))) == squares(2)
    assert unseen.looks["theirs"] == 2


def test_a_pre_empted_job_has_ended_if_it_is_not_queued_again(tmp_path, monkeypatch):
    """SLURM says so of a job, too, that it is about to queue again."""
    job = SimpleNamespace(job_id="1", state="PREEMPTED", done=lambda: False)
    clock = {"seconds": 0.0}
    monkeypatch.setattr(cluster.time, "monotonic", lambda: clock["seconds"])
    scheduler = Cluster("local", tmp_path, 1, 60, {}, 1)
    assert not scheduler.has_ended(job)
    clock["seconds"] = 800.0
    assert not scheduler.has_ended(job)
    job.state = "RUNNING"
    assert not scheduler.has_ended(job)
    job.state = "PREEMPTED by 0"
    clock["seconds"] = 1600.0
    assert not scheduler.has_ended(job)
    clock["seconds"] = 2501.0
    assert scheduler.has_ended(job)


def test_an_outcome_comes_back_as_it_was(tmp_path):
    task = Task("0110", 1, ("fid", "score"))
    values = {"fid": 0.1 + 0.2, "score": float("inf")}
    outcome = Outcome(task, values, {"x": "Trace\nback"}, seed=7, seconds=1 / 3, device="cpu fp32")
    spool = Spool(tmp_path)
    spool.put(outcome)
    assert spool.names() == {name_of(task)}
    assert spool.outcome(task) == outcome
    others = [Task("0110", 0, task.properties), Task("0110", 1, ("fid",)), Task("1", 1, ("fid",))]
    assert not any(map(spool.has, others))


def test_what_the_disk_has_not_got_is_not_there(tmp_path, monkeypatch):
    """After a power cut a file of no content would end every driver that follows."""
    spool = Spool(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        spool.note_submission("token", "1_0", [Task("0110", 0, ("fid",))])
    assert list(spool.submissions()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ------------------------------------------------------------------------------ stopping, errors


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_closing_the_outcomes_cancels_all_jobs_quietly(slurm, notes, capfd, handler, request):
    """Also in a command that ignores interrupts, as one in the background of a script does."""
    before = signal.signal(signal.SIGINT, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    make = Identified(notes, waits_for=notes / "never", on="1")
    with closing(slurm(jobs_per_submission=1).run(make, evaluators.jobs(8))) as outcomes:
        assert next(outcomes).task.coalition == "0"
        wait_until(lambda: list(notes.glob("waiting-*")))
        pids = [int(path.name.split("-")[1]) for path in notes.glob("built-*")]
    assert not any(map(is_alive, pids))
    assert capfd.readouterr() == ("", "")
    assert sum(evaluations(notes).values()) < 8


def test_an_evaluator_that_cannot_be_built_shows_its_own_traceback(slurm):
    with pytest.raises(RuntimeError, match="building the evaluator") as caught:
        list(slurm().run(evaluators.lacks_its_model, evaluators.jobs(2)))
    assert "FileNotFoundError: there is no model.safetensors" in str(caught.value)
    assert "in lacks_its_model" in str(caught.value)


def test_an_evaluator_that_cannot_be_imported_shows_its_own_traceback(slurm):
    with pytest.raises(RuntimeError, match="ImportError: no module named their_property"):
        list(slurm().run(evaluators.VanishesWhenUnpickled(), evaluators.jobs(2)))


def test_an_error_that_the_user_can_mend_stays_one(slurm):
    with pytest.raises(ConfigError, match=r"^generation.steps must be positive, got -1$"):
        list(slurm().run(evaluators.is_wrongly_configured, evaluators.jobs(2)))


@pytest.mark.parametrize(
    ("evaluator", "error"), [("RaisesOn3", "ZeroDivisionError: a slip"), ("Exits", "SystemExit")]
)
def test_an_evaluator_that_raises_is_a_bug_shown_with_its_task(slurm, evaluator, error):
    make = getattr(evaluators, evaluator)
    with pytest.raises(RuntimeError, match=error) as caught:
        list(slurm().run(make, evaluators.jobs(4)))
    assert "Task(coalition='" in str(caught.value)


def test_without_submitit_one_message_says_what_to_install(slurm, notes, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match="pip install submitit"):
        list(slurm().run(Identified(notes), evaluators.jobs(1)))


def test_without_slurm_one_message_says_so(slurm, notes, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"executor\.cluster=slurm: .*srun"):
        list(slurm(cluster="slurm").run(Identified(notes), evaluators.jobs(1)))


@pytest.mark.parametrize("parameters", [{"partition": "gpu"}, {"slurm_partitoin": "gpu"}])
def test_parameters_that_submitit_does_not_know_are_refused(slurm, notes, parameters):
    with pytest.raises(ConfigError, match=r"executor\.parameters: .*parti"):
        list(slurm(parameters=parameters).run(Identified(notes), evaluators.jobs(1)))
    with pytest.raises(ConfigError, match=r"executor\.parameters: .*parti"):
        slurm(parameters=parameters).check()


def test_a_check_says_nothing_of_what_is_fine(slurm, tmp_path):
    slurm().check()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("cluster", "pbs"), ("workers", 0), ("workers", "auto"), ("retries", -1)),
        *(("jobs_per_submission", 0), ("timeout_min", 0), ("poll_seconds", 0)),
    ],
)
def test_senseless_settings_are_refused_by_key(slurm, key, value):
    with pytest.raises(ConfigError, match=rf"executor\.{key} must be .* got"):
        slurm(**{key: value})


def test_it_is_as_wide_as_its_workers_wherever_it_is_started(slurm):
    assert slurm(workers=7).sized(1, ["0"]).width() == 7


@pytest.mark.parametrize(("devices", "seen"), [(["2", "GPU:5"], {"2", "GPU:5"}), ([], {""})])
def test_jobs_of_this_machine_take_turns_on_its_gpus(devices, seen, slurm, notes):
    executor = slurm(jobs_per_submission=1).sized(1, devices)
    list(executor.run(partial(evaluators.SeesItsGpu, notes, {}, 2), evaluators.jobs(2)))
    found = {tuple(path.name.split("-")[1:3]) for path in notes.glob("sees-*")}
    assert found == {(gpu, "early") for gpu in seen}


def test_jobs_of_a_cluster_have_the_gpus_that_it_gives_them(slurm):
    assert slurm(cluster="slurm").sized(1, ["0"]).devices == ()
