import multiprocessing
import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

import evaluators_for_tests as evaluators
import pytest

from crediting.errors import ConfigError, EvaluationError
from crediting.executors import Processes, Serial
from crediting.executors.environment import GPU, ONE_THREAD, environment_of_workers
from crediting.executors.processes import _Backlog, _work_until_a_worker_dies
from crediting.executors.worker import Answer, Raised
from crediting.interfaces import Task


def scores(outcomes) -> dict[str, float]:
    return {outcome.task.coalition: outcome.values["score"] for outcome in outcomes}


def builds(folder: Path) -> list[str]:
    return [path.name.split("-")[1] for path in folder.glob("built-*")]


@pytest.fixture(autouse=True)
def _no_process_is_left_behind():
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "executor", [Serial(), Processes(2, 0, 1), Processes("auto", 0, 1).sized(2)]
)
def test_every_task_has_one_outcome_whatever_the_order(executor, size, tmp_path):
    jobs = evaluators.jobs(20, size)
    random.Random(0).shuffle(jobs)
    outcomes = list(executor.run(partial(evaluators.Square, tmp_path), jobs))
    assert len(outcomes) == 20
    assert scores(outcomes) == {str(n): n**2 for n in range(20)}


def test_serial_builds_one_evaluator_here_and_keeps_the_order(tmp_path):
    outcomes = list(Serial().run(partial(evaluators.Square, tmp_path), evaluators.jobs(5)))
    assert [outcome.task for outcome in outcomes] == evaluators.tasks(5)
    assert builds(tmp_path) == [str(os.getpid())]


def test_processes_build_one_evaluator_per_worker(tmp_path):
    outcomes = Processes(2, 0, 1).run(partial(evaluators.Square, tmp_path), evaluators.jobs(60))
    workers = {outcome.device for outcome in outcomes}
    assert sorted(builds(tmp_path)) == sorted(set(builds(tmp_path)))
    assert workers <= set(builds(tmp_path))
    assert len(builds(tmp_path)) == 2
    assert str(os.getpid()) not in workers


def test_there_are_never_more_workers_than_tasks(tmp_path):
    list(Processes(16, 0, 1).run(partial(evaluators.Square, tmp_path), evaluators.jobs(1)))
    assert len(builds(tmp_path)) == 1


@pytest.mark.parametrize("executor", [Serial(), Processes(2, 0, 1)])
def test_without_tasks_nothing_is_built(executor, tmp_path):
    assert list(executor.run(partial(evaluators.Square, tmp_path), [])) == []
    assert builds(tmp_path) == []


def test_a_task_is_tried_again_when_its_worker_is_killed(tmp_path):
    make = partial(evaluators.DiesOn, tmp_path, {"3": 2, "7": 1})
    outcomes = list(Processes(2, retries=2, per_gpu=1).run(make, evaluators.jobs(12)))
    assert scores(outcomes) == {str(n): n**2 for n in range(12)}
    assert len(list(tmp_path.glob("died-3-*"))) == 2


def test_tasks_that_always_kill_are_reported_and_all_others_are_done(tmp_path):
    make = partial(evaluators.DiesOn, tmp_path, {"1": 99, "2": 99})
    outcomes = list(Processes(2, retries=1, per_gpu=1).run(make, evaluators.jobs(10)))
    dead = [outcome for outcome in outcomes if outcome.failures]
    assert sorted(outcome.task.coalition for outcome in dead) == ["1", "2"]
    assert all("worker died 2 times" in outcome.failures[""] for outcome in dead)
    assert all(outcome.values == {} for outcome in dead)
    done = [outcome for outcome in outcomes if not outcome.failures]
    assert scores(done) == {str(n): n**2 for n in range(10) if n not in (1, 2)}
    assert len(list(tmp_path.glob("died-1-*"))) <= 2


def test_of_a_job_that_kills_only_the_culprit_uses_up_its_retries(tmp_path):
    make = partial(evaluators.DiesOn, tmp_path, {"1": 99})
    outcomes = list(Processes(2, retries=1, per_gpu=1).run(make, evaluators.jobs(9, size=3)))
    assert [outcome.task.coalition for outcome in outcomes if outcome.failures] == ["1"]
    assert len(outcomes) == 9


def test_jobs_stay_whole_until_a_worker_died_with_one_of_them_alone():
    first, second = evaluators.jobs(6, size=3)
    backlog = _Backlog([first, second], size=2, retries=2)
    in_flight = [backlog.next([]).popleft() for _ in range(2)]
    assert backlog.take_back(in_flight) == []
    assert backlog.next([]).popleft() == first
    assert backlog.next([first]) is None  # alone
    assert backlog.next([]).popleft() == second
    assert backlog.take_back([second]) == []
    singles = [backlog.next([]).popleft() for _ in range(3)]
    assert singles == [(task,) for task in second]
    assert backlog.take_back([singles[0]]) == [second[0]]
    assert not backlog


def test_nothing_new_joins_a_job_that_a_worker_died_with():
    """It would be suspected as well."""
    job, fresh = evaluators.jobs(2)
    backlog = _Backlog([job, fresh], size=2, retries=2)
    backlog.take_back([backlog.next([]).popleft()])
    assert backlog.next([]).popleft() == job
    assert backlog.next([job]) is None
    assert backlog.next([]).popleft() == fresh


def test_with_a_single_retry_every_task_goes_for_itself():
    jobs = evaluators.jobs(4, size=2)
    backlog = _Backlog(jobs, size=2, retries=1)
    backlog.take_back([backlog.next([]).popleft() for _ in range(2)])
    assert [backlog.next([]).popleft() for _ in range(4)] == [(t,) for job in jobs for t in job]


def test_a_worker_whose_gpu_is_lost_is_replaced(tmp_path):
    make = partial(evaluators.LosesItsGpu, tmp_path, {"2": 1})
    found = list(Processes(2, 2, 1).run(make, evaluators.jobs(5, size=2)))
    assert sorted(float(outcome.values["score"]) for outcome in found) == [0, 1, 4, 9, 16]
    assert len(list(tmp_path.glob("died-2-*"))) == 1


def test_an_evaluator_that_cannot_be_built_shows_its_own_traceback():
    with pytest.raises(RuntimeError, match=r"building the evaluator\n") as caught:
        list(Processes(2, 2, 1).run(evaluators.lacks_its_model, evaluators.jobs(4)))
    assert "FileNotFoundError: there is no model.safetensors" in str(caught.value)
    assert "in lacks_its_model" in str(caught.value)


def test_an_evaluator_that_cannot_be_imported_shows_its_own_traceback():
    with pytest.raises(RuntimeError, match="ImportError: no module named their_property"):
        list(Processes(1, 2, 1).run(evaluators.VanishesWhenUnpickled(), evaluators.jobs(4)))


def test_an_error_that_the_user_can_mend_stays_one():
    with pytest.raises(ConfigError, match=r"^generation.steps must be positive, got -1$"):
        list(Processes(2, 2, 1).run(evaluators.is_wrongly_configured, evaluators.jobs(4)))


def test_workers_that_die_while_they_are_built_are_no_endless_loop(tmp_path):
    make = partial(evaluators.is_killed_while_built, tmp_path)
    with pytest.raises(EvaluationError, match=r"died 2 times before .* executor\.workers"):
        list(Processes(2, 1, 1).run(make, evaluators.jobs(50)))
    assert len(list(tmp_path.glob("built-*"))) <= 4


def test_an_evaluator_that_raises_is_a_bug_shown_with_its_task():
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a slip of ours") as caught:
        list(Processes(2, 2, 1).run(evaluators.RaisesOn3, evaluators.jobs(20)))
    assert "Task(coalition='3', replicate=0, properties=('score',))" in str(caught.value)


def test_an_evaluator_that_exits_does_not_end_the_driver():
    with pytest.raises(RuntimeError, match="SystemExit"):
        list(Processes(1, 0, 1).run(evaluators.Exits, evaluators.jobs(1)))


def test_workers_use_one_thread_and_leave_interrupts_to_the_driver():
    outcomes = Processes(1, 0, 1).run(evaluators.reports_its_environment, evaluators.jobs(1))
    assert scores(outcomes) == {"0": 1.0}


@pytest.mark.parametrize("visible", ["5", None])
def test_the_environment_of_the_driver_is_put_back(monkeypatch, visible):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.delenv(GPU, raising=False)
    if visible:
        monkeypatch.setenv(GPU, visible)
    before = dict(os.environ)
    with environment_of_workers():
        assert {name: os.environ[name] for name in ONE_THREAD} == ONE_THREAD
        assert os.environ.get(GPU) == visible
        os.environ[GPU] = "0"
    assert dict(os.environ) == before


def seen_gpus(folder: Path) -> Counter[tuple[str, str]]:
    """Return how many evaluators saw which GPU, and whether before torch was imported."""
    names = [path.name.split("-") for path in folder.glob("sees-*")]
    return Counter((gpu, state) for _, gpu, state, _ in names)


def test_workers_are_dealt_to_the_gpus_in_turn(tmp_path):
    executor = Processes(3, 0, 1).sized(1, ["2", "GPU:1f"])
    make = partial(evaluators.SeesItsGpu, tmp_path, {}, 3)
    assert scores(executor.run(make, evaluators.jobs(6))) == {str(n): n**2 for n in range(6)}
    assert seen_gpus(tmp_path) == {("2", "early"): 2, ("GPU:1f", "early"): 1}


def test_workers_that_replace_others_leave_no_gpu_idle(tmp_path):
    executor = Processes(3, 1, 1).sized(1, ["0", "1"])
    make = partial(evaluators.SeesItsGpu, tmp_path, {"4": 1}, 3)
    assert scores(executor.run(make, evaluators.jobs(8))) == {str(n): n**2 for n in range(8)}
    assert seen_gpus(tmp_path) == {("0", "early"): 4, ("1", "early"): 2}


@pytest.mark.parametrize("visible", ["7,8", None])
def test_without_gpus_to_deal_what_the_user_set_stays(tmp_path, monkeypatch, visible):
    monkeypatch.delenv(GPU, raising=False)
    if visible:
        monkeypatch.setenv(GPU, visible)
    make = partial(evaluators.SeesItsGpu, tmp_path, {}, 1)
    list(Processes("auto", 0, 3).sized(1).run(make, evaluators.jobs(1)))
    assert [gpu for gpu, _ in seen_gpus(tmp_path)] == [visible or "unset"]


_FORKING = """
from functools import partial
import evaluators_for_tests as evaluators
from crediting import multiprocess, randomness
from crediting.executors import Processes

size = 2 * multiprocess.most_resident()
for crew in range(2):
    outcomes = Processes(2, 0, 1).run(partial(evaluators.TakesMemory, size), evaluators.jobs(4))
    print(*(outcome.values["score"] for outcome in outcomes))
print(multiprocess.most_resident() > size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere forks are not safe")
def test_workers_have_what_the_driver_imported_and_their_memory_is_known():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    # by a shell that forks: who is executed right here counts the memory of this process as its own
    command = ["/bin/sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, _FORKING]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == 8 * ["1.0"] + ["True"], told.stderr
    assert told.stderr == ""


@pytest.mark.parametrize("workers", [0, -1, "all", 1.5, True, None])
def test_a_senseless_number_of_workers_is_refused_by_key(workers):
    with pytest.raises(ConfigError, match=r"executor\.workers must be .* got"):
        Processes(workers, 0, 1)


@pytest.mark.parametrize("retries", [-1, 0.5, True])
def test_a_senseless_number_of_retries_is_refused_by_key(retries):
    with pytest.raises(ConfigError, match=r"executor\.retries must be"):
        Processes(1, retries, 1)


@pytest.mark.parametrize("per_gpu", [0, -1, 1.5, "auto", True])
def test_a_senseless_number_per_gpu_is_refused_by_key(per_gpu):
    with pytest.raises(ConfigError, match=r"executor\.per_gpu must be a positive integer, got"):
        Processes(1, 0, per_gpu)


def test_auto_is_what_the_machine_can_hold():
    assert Processes("auto", 1, 1).sized(5).width() == 5
    assert Processes("auto", 1, 1).sized(5).retries == 1
    assert Processes(3, 0, 1).sized(5).width() == 3
    assert Serial().sized(5, ["0"]).width() == 1
    with pytest.raises(RuntimeError, match="not sized"):
        Processes("auto", 0, 1).width()


def test_auto_on_gpus_is_as_many_as_each_may_hold():
    assert Processes("auto", 0, 1).sized(4, ["0", "1"]).width() == 2
    assert Processes("auto", 0, 3).sized(4, ["0", "1"]).width() == 6
    assert Processes(5, 0, 3).sized(4, ["0", "1"]).width() == 5
    assert Processes("auto", 0, 3).sized(4).width() == 4


def test_width_is_how_many_coalitions_are_evaluated_at_once():
    assert Serial().width() == 1
    assert Processes(3, 0, 1).width() == 3


def test_executors_import_neither_numpy_nor_torch():
    """A worker sets its number of threads before it imports them."""
    code = "import crediting.executors, sys; print({'numpy', 'torch', 'hydra'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    assert printed.strip() == "set()"


def test_what_others_finished_is_told_before_what_one_raised():
    job, other = (Task("1", 0, ("p",)),), (Task("2", 0, ("p",)),)

    class Crew:
        def submit(self, work, job_at_hand):
            future = Future()
            raised = Raised("evaluating", "boom", None)
            future.set_result(Answer(raised if job_at_hand == job else ["good"], 0))
            return future

    told = _work_until_a_worker_dies(Crew(), _Backlog([job, other], 2, 0))
    assert next(told) == "good"
    with pytest.raises(RuntimeError, match="boom"):
        next(told)


@pytest.mark.parametrize("broken", [True, False])
def test_a_pool_that_breaks_while_it_is_given_work_is_a_lost_crew(monkeypatch, broken):
    def refuse(pool, work, *arguments):
        pool._broken = broken
        raise OSError("handle is closed")

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refuse)
    executor = Processes(2, 1, 1)
    expected = EvaluationError if broken else OSError
    with pytest.raises(expected, match=r"died 2 times|handle is closed"):
        list(executor.run(evaluators.Square, [(Task("1", 0, ("p",)),)]))
