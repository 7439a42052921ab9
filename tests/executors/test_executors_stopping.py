import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import evaluators_for_tests as evaluators
import pytest

from crediting.executors import Processes


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def busy_workers(folder: Path) -> list[int]:
    assert wait_until(lambda: len(list(folder.glob("pid-*"))) == 2, 20)
    return [int(path.name.split("-")[1]) for path in folder.glob("pid-*")]


def started_by(pid: int) -> list[int]:
    """Return the processes that one started, those that these started, and so on."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [who for child in children for who in (child, *started_by(child))]


AS_A_TERMINAL_OR_A_SCHEDULER_DOES = pytest.mark.parametrize(
    ("send", "signal_number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)]
)


@contextmanager
def driver(folder: Path):
    """Run a driver of two workers in a session of its own; it says when it begins."""
    process = subprocess.Popen(
        [sys.executable, evaluators.__file__, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "begins\n"
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
class TestADriverWithBusyWorkers:
    def test_killed_leaves_no_process(self, tmp_path):
        with driver(tmp_path) as process:
            workers = busy_workers(tmp_path)
            helpers = started_by(process.pid)
            assert set(workers) <= set(helpers)
            os.kill(process.pid, signal.SIGKILL)
            assert wait_until(lambda: not any(map(is_alive, helpers)), 5)

    @AS_A_TERMINAL_OR_A_SCHEDULER_DOES
    def test_interrupted_exits_promptly_and_quietly(self, tmp_path, send, signal_number):
        with driver(tmp_path) as process:
            workers = busy_workers(tmp_path)
            helpers = started_by(process.pid)
            started = time.monotonic()
            send(process.pid, signal_number)
            stdout, stderr = process.communicate(timeout=10)
            assert time.monotonic() - started < 5
            assert process.returncode == 0
            assert stdout.split() == ["0", "interrupted"]
            assert stderr == ""
            assert wait_until(lambda: not any(map(is_alive, [*workers, *helpers])), 5)

    @AS_A_TERMINAL_OR_A_SCHEDULER_DOES
    @pytest.mark.parametrize("seconds", [0.02, 0.05, 0.1, 0.2, 0.4])
    def test_interrupted_while_workers_start_it_is_as_quiet(
        self, tmp_path, seconds, send, signal_number
    ):
        with driver(tmp_path) as process:
            time.sleep(seconds)
            helpers = started_by(process.pid)
            send(process.pid, signal_number)
            stdout, stderr = process.communicate(timeout=20)
            assert process.returncode == 0
            assert stdout.split()[-1] == "interrupted"
            assert stderr == ""
            assert wait_until(lambda: not any(map(is_alive, helpers)), 5)


def test_closing_the_outcomes_stops_the_workers_at_once(tmp_path):
    make = partial(evaluators.Sleeps, tmp_path)
    with closing(Processes(2, 0, 1).run(make, evaluators.jobs(8))) as outcomes:
        assert next(outcomes).task.coalition == "0"
        workers = busy_workers(tmp_path)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert multiprocessing.active_children() == []
    assert not any(map(is_alive, workers))
