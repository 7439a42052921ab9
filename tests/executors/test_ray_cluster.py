import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

import evaluators_for_tests as evaluators
import pytest
from evaluators_on_ray import Lingers

from crediting.errors import ArtifactError, ConfigError, EvaluationError
from crediting.executors import RayCluster, ray_actor, ray_crew
from crediting.executors.ray_crew import Backlog
from crediting.executors.worker import Raised

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

needs_ray = [
    pytest.mark.slow,
    # ray leaves the processes that it started, and their pipes, to the garbage collector
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]
QUICK_TO_NOTICE = {"health_check_period_ms": 300, "health_check_failure_threshold": 3}


def on(cluster, workers=2, retries=2, cpus=1, gpus=0) -> RayCluster:
    return RayCluster(cluster.address, workers, cpus, gpus, retries)


def scores(outcomes) -> dict[str, float]:
    return {outcome.task.coalition: outcome.values["score"] for outcome in outcomes}


def squares(count: int) -> dict[str, float]:
    return {str(number): number**2 for number in range(count)}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each, beside a head that has none; one claims to have a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        head = {"num_cpus": 0, "_system_config": QUICK_TO_NOTICE, "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args=head)
        started.add_node(num_cpus=1)
        started.add_node(num_cpus=1, num_gpus=1)
        yield started
        started.shutdown()


class TestOnTwoNodes:
    pytestmark = needs_ray

    @pytest.mark.parametrize("size", [1, 3])
    def test_every_task_has_one_outcome(self, cluster, tmp_path, size):
        make = partial(evaluators.Square, tmp_path)
        outcomes = list(on(cluster, "auto").run(make, evaluators.jobs(20, size)))
        assert len(outcomes) == 20
        assert scores(outcomes) == squares(20)
        workers = {outcome.device for outcome in outcomes}
        built = [path.name.split("-")[1] for path in tmp_path.glob("built-*")]
        assert len(built) == len(set(built)) <= 2
        assert workers <= set(built)  # one may have done everything before the other was ready
        assert str(os.getpid()) not in workers
        assert not ray.is_initialized()

    def test_a_cluster_is_asked_for_its_width(self, cluster):
        assert on(cluster, "auto").width() == 2
        assert on(cluster, "auto", cpus=0.5).width() == 4
        assert on(cluster, 7).width() == 7
        with pytest.raises(ConfigError, match=r"no node of the cluster has 2 CPUs and 0 GPUs"):
            on(cluster, "auto", cpus=2).width()
        with pytest.raises(ConfigError, match=r"no node of the cluster has 1 CPUs and 2 GPUs"):
            list(on(cluster, 1, gpus=2).run(evaluators.RaisesOn3, evaluators.jobs(1)))

    def test_more_workers_than_there_is_room_for_wait(self, cluster, tmp_path):
        make = partial(evaluators.Square, tmp_path)
        outcomes = list(on(cluster, 5).run(make, evaluators.jobs(8)))
        assert scores(outcomes) == squares(8)
        assert len(list(tmp_path.glob("built-*"))) <= 2

    def test_a_task_is_tried_again_as_often_as_its_worker_is_killed(self, cluster, tmp_path):
        make = partial(evaluators.DiesOn, tmp_path, {"3": 2, "7": 1})
        outcomes = list(on(cluster).run(make, evaluators.jobs(12)))
        assert scores(outcomes) == squares(12)
        assert len(outcomes) == 12
        assert len(list(tmp_path.glob("died-3-*"))) == 2
        assert len(list(tmp_path.glob("died-7-*"))) == 1

    def test_of_a_job_that_always_kills_only_the_culprit_is_given_up(self, cluster, tmp_path):
        make = partial(evaluators.DiesOn, tmp_path, {"1": 99})
        outcomes = list(on(cluster, retries=1).run(make, evaluators.jobs(9, size=3)))
        (dead,) = [outcome for outcome in outcomes if outcome.failures]
        assert dead.task.coalition == "1"
        assert "worker died 2 times" in dead.failures[""]
        assert (dead.values, dead.seed, dead.seconds) == ({}, -1, 0.0)
        assert len(outcomes) == 9
        assert len(list(tmp_path.glob("died-1-*"))) == 2

    def test_workers_that_die_while_they_are_built_are_no_endless_loop(self, cluster, tmp_path):
        make = partial(evaluators.is_killed_while_built, tmp_path)
        with pytest.raises(EvaluationError, match=r"died 2 times before .* executor\.workers"):
            list(on(cluster, retries=1).run(make, evaluators.jobs(50)))
        assert len(list(tmp_path.glob("built-*"))) == 4

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (evaluators.is_wrongly_configured, ConfigError, r"^generation.steps must be positive"),
            (evaluators.lacks_its_model, RuntimeError, r"building the evaluator[^;]*\n.*"),
            (evaluators.VanishesWhenUnpickled(), RuntimeError, "ImportError: no module named"),
            (evaluators.RaisesOn3, RuntimeError, r"Task\(coalition='3', [^$]*a slip of ours"),
            (evaluators.Exits, RuntimeError, "SystemExit"),
        ],
    )
    def test_errors_are_those_of_processes(self, cluster, make, error, message):
        with pytest.raises(error, match=message) as caught:
            list(on(cluster).run(make, evaluators.jobs(6)))
        assert caught.type is error

    def test_workers_compute_with_their_share_and_leave_interrupts_to_the_driver(self, cluster):
        make = evaluators.reports_its_environment
        assert scores(on(cluster).run(make, evaluators.jobs(1))) == {"0": 1.0}

    def test_closing_the_outcomes_stops_the_workers_and_leaves_the_cluster(self, cluster, tmp_path):
        make = partial(evaluators.Sleeps, tmp_path)
        with closing(on(cluster).run(make, evaluators.jobs(8))) as outcomes:
            assert next(outcomes).task.coalition == "0"
            assert wait_until(lambda: len(list(tmp_path.glob("pid-*"))) >= 1, 30)
            workers = [int(path.name.split("-")[1]) for path in tmp_path.glob("pid-*")]
            started = time.monotonic()
        assert time.monotonic() - started < 5
        assert wait_until(lambda: not any(map(is_alive, workers)), 10)
        assert on(cluster, "auto").width() == 2

    def test_shares_of_a_gpu(self, cluster, tmp_path):
        assert on(cluster, "auto", cpus=0.25, gpus=0.25).width() == 4
        assert on(cluster, "auto", cpus=0.25, gpus=0.3).width() == 3
        assert on(cluster, "auto", gpus=1).width() == 1
        make = partial(evaluators.SeesItsGpu, tmp_path, {}, 2)
        shares = on(cluster, "auto", cpus=0.5, gpus=0.5)
        assert scores(shares.run(make, evaluators.jobs(4))) == squares(4)
        seen = [path.name.split("-")[1:3] for path in tmp_path.glob("sees-*")]
        assert seen == [["0", "early"]] * 2

    def test_without_a_share_no_gpu_is_seen(self, cluster, tmp_path):
        make = partial(evaluators.SeesItsGpu, tmp_path, {}, 2)
        assert scores(on(cluster).run(make, evaluators.jobs(4))) == squares(4)
        seen = [path.name.split("-")[1:3] for path in tmp_path.glob("sees-*")]
        assert seen == [["", "early"]] * 2

    def test_a_node_that_is_killed_takes_no_task_with_it(self, cluster, tmp_path):
        """It must be the last of these tests: there is but one node afterwards."""
        make = partial(Lingers, tmp_path, "9")
        with closing(on(cluster).run(make, evaluators.jobs(30))) as running:
            outcomes = []
            while not (begun := list(tmp_path.glob("begun-9-*"))):
                outcomes.append(next(running))
            _, _, where, process, _ = begun[0].name.split("-")
            (lost,) = [node for node in cluster.worker_nodes if node.node_id == where]
            cluster.remove_node(lost, allow_graceful=False)
            assert wait_until(lambda: not is_alive(int(process)), 30)  # or it might still answer
            (tmp_path / "go-on").touch()
            outcomes += running
        assert len(outcomes) == 30
        assert scores(outcomes) == squares(30)
        times = Counter(path.name.split("-")[1] for path in tmp_path.glob("begun-*"))
        assert times == dict.fromkeys(squares(30), 1) | {"9": 2}


class TestOnAClusterOfItsOwn:
    pytestmark = needs_ray

    def test_it_lasts_as_long_as_the_run_and_leaves_nothing(self, tmp_path):
        home, code = tmp_path / "home", tmp_path / "driver.py"
        home.mkdir()
        code.write_text(
            "import sys\n"
            "from functools import partial\n"
            "from pathlib import Path\n"
            "import evaluators_for_tests as evaluators\n"
            "from crediting.executors import RayCluster\n"
            "if __name__ == '__main__':\n"
            "    executor = RayCluster(None, 'auto', 1, 'auto', 0).sized(2)\n"
            "    assert executor.width() == 2\n"
            "    make = partial(evaluators.Sleeps, Path(sys.argv[1]))\n"
            "    try:\n"
            "        for outcome in executor.run(make, evaluators.jobs(8)):\n"
            "            print(outcome.task.coalition, flush=True)\n"
            "    except KeyboardInterrupt:\n"
            "        print('interrupted')\n"
        )
        # a shell has its background jobs ignore interrupts, and so have all that they start
        signal.signal(signal.SIGINT, signal.default_int_handler)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        own = {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home)}
        before = set(Path("/tmp").glob("crediting-ray-*"))
        driver = subprocess.Popen(
            [sys.executable, code, tmp_path],
            env=environment | own,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2, 60)
        workers = [int(path.name.split("-")[1]) for path in tmp_path.glob("pid-*")]
        os.killpg(driver.pid, signal.SIGINT)
        stdout, stderr = driver.communicate(timeout=30)
        assert (stdout.split(), stderr) == (["0", "interrupted"], "")
        assert wait_until(lambda: not any(map(is_alive, workers)), 10)
        assert list(home.iterdir()) == []
        assert set(Path("/tmp").glob("crediting-ray-*")) <= before


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        *[({"workers": value}, "workers") for value in (0, -1, "all", 1.5, True, None)],
        *[({"cpus_per_worker": value}, "cpus_per_worker") for value in (0, -1, "auto", None)],
        *[({"gpus_per_worker": value}, "gpus_per_worker") for value in (-0.5, 1.5, "all", None)],
        *[({"retries": value}, "retries") for value in (-1, 0.5, True)],
    ],
)
def test_senseless_settings_are_refused_by_key(settings, key):
    fine = {
        "address": None,
        "workers": 1,
        "cpus_per_worker": 1,
        "gpus_per_worker": 0,
        "retries": 0,
    }
    with pytest.raises(ConfigError, match=rf"^executor\.{key} must be .*, got"):
        RayCluster(**(fine | settings))


@pytest.mark.parametrize(
    ("cpus", "gpus", "capacity", "devices", "width"),
    [
        (1, "auto", 5, [], 5),
        (2, 0, 2, [], 2),
        (0.5, 0, 2, [], 4),
        (1, "auto", 3, ["0", "1", "2"], 3),
        (1, 0.25, 1, ["4"], 4),
        (1, 2, 3, ["0", "1", "2"], 1),
    ],
)
def test_the_width_of_this_machine_is_known_without_a_cluster(
    cpus, gpus, capacity, devices, width, monkeypatch
):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("a cluster was started"))
    assert RayCluster(None, "auto", cpus, gpus, 0).sized(capacity, devices).width() == width
    assert RayCluster(None, 9, cpus, gpus, 0).sized(capacity, devices).width() == 9


def test_a_machine_without_gpus_is_told_before_a_cluster_is_started(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("a cluster was started"))
    executor = RayCluster(None, "auto", 1, 1, 0).sized(4)
    with pytest.raises(ConfigError, match=r"executor\.gpus_per_worker: no node .* 1 GPUs"):
        executor.width()
    with pytest.raises(ConfigError, match=r"executor\.gpus_per_worker: no node .* 1 GPUs"):
        list(executor.run(evaluators.RaisesOn3, evaluators.jobs(1)))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_a_cluster_that_is_not_there_is_told_at_once(address):
    executor = RayCluster(address, "auto", 1, 0, 0)
    with pytest.raises(ConfigError, match=r"executor\.address: no Ray cluster can be joined at"):
        executor.width()


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    executor = RayCluster(None, 1, 1, 0, 0).sized(1)
    with pytest.raises(ConfigError, match="pip install ray"):
        list(executor.run(evaluators.RaisesOn3, evaluators.jobs(1)))
    with pytest.raises(ConfigError, match="pip install ray"):
        executor.check()
    assert list(executor.run(evaluators.RaisesOn3, [])) == []


def test_a_missing_file_on_another_machine_is_said_to_be_there():
    missing = ArtifactError("store/prune-1 is not there yet")
    found = ray_actor._placed(Raised("building", "", missing), driver="here", here="there")
    assert isinstance(found.mendable, ArtifactError)
    assert "store/prune-1 is not there yet\nThat was on there: paths.outputs" in str(found.mendable)
    on_the_same = Raised("building", "", missing)
    assert ray_actor._placed(on_the_same, driver="here", here="here") is on_the_same
    other = Raised("building", "", ConfigError("no cuda"))
    assert ray_actor._placed(other, driver="here", here="there") is other


def test_tasks_of_a_lost_job_come_next_each_for_itself_and_no_more_often_than_retries():
    a, b, c, d = evaluators.tasks(4)
    backlog = Backlog([(a, b), (c, d)], retries=1)
    assert backlog.next() == (a, b)
    assert backlog.take_back((a, b)) == []
    assert backlog.next() == (a,)
    assert backlog.take_back((a,)) == [a]
    assert [backlog.next(), backlog.next()] == [(b,), (c, d)]
    assert not backlog


class FakeRay:
    """A cluster whose actors never answer."""

    def __init__(self):
        self.killed = 0

    def wait(self, references, num_returns, timeout):
        return [], references

    def kill(self, actor):
        self.killed += 1


class FakeActor:
    class begin:  # noqa: N801
        remote = object


def test_a_cluster_that_lost_all_its_nodes_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(ray_crew, "_PATIENCE", 0.0)
    fake = FakeRay()
    crew = ray_crew.Crew(fake, FakeActor, room=lambda: 0, size=3, retries=0)
    with pytest.raises(EvaluationError, match="no node that could hold a worker"):
        list(crew.evaluate(evaluators.jobs(5)))
    assert fake.killed == 3


class Answer:
    """What an actor gives at once, but where it is lost with coalition 0."""

    def __init__(self, job=()):
        self.job = job


class PromptActor:
    class begin:  # noqa: N801
        remote = Answer

    class evaluate:  # noqa: N801
        remote = Answer


class PromptRay(FakeRay):
    class exceptions:  # noqa: N801
        RayActorError = WorkerCrashedError = NodeDiedError = ConnectionError
        OutOfMemoryError = ObjectLostError = ConnectionError

    def wait(self, references, num_returns, timeout):
        return references[:1], references[1:]

    def get(self, answer):
        if any(task.coalition == "0" for task in answer.job):
            raise ConnectionError("the actor is gone")
        return [evaluators.outcome_of(task, int(task.coalition) ** 2) for task in answer.job]


def test_a_worker_that_is_lost_at_work_is_replaced_however_few_the_retries():
    """It was no false start, so there is no reason to give up."""
    crew = ray_crew.Crew(PromptRay(), PromptActor, room=lambda: 1, size=1, retries=0)
    dead, *done = crew.evaluate(evaluators.jobs(3))
    assert (dead.task.coalition, dead.values) == ("0", {})
    assert scores(done) == {"1": 1, "2": 4}
