"""Run a miniature study in a child that is killed at random moments, again and again.

    python kill_at_random.py OUTPUTS SEED KILLS

The libraries are imported once and the study is forked, so that a kill may fall into any stage.
It is first run undisturbed, into OUTPUTS/undisturbed, which tells how long it takes here; then it
is started again and again, into OUTPUTS/killed, and killed after a tenth to a third of that time,
until it ends before. After each of at most KILLS kills every value that the ledger held before must
still be there, unchanged. If it ended after fewer than four, as on a machine that has become faster
meanwhile, all that is done once more, the kills in half the time. Prints one line per kill and
exits with an assertion error if anything recorded was lost.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from credit_forks import PRELOADED
from matplotlib.figure import Figure
from miniature_study import make_study, read_ledgers

from crediting.pipeline import stages

FEWEST = 4
OVERRIDES = (
    "design.budget=12",
    "partition.contributors=4",
    "property=[fid]",
    "finetuning.recipe.steps=8",
    "model.training.steps=30",
    "pruning.recovery.steps=12",
    "runtime.checkpoint_seconds=0.1",
)


def main(outputs: Path, seed: int, kills: int) -> None:
    torch.set_num_threads(1)
    for library in PRELOADED:  # else each child would do little more than import
        importlib.import_module(library)
    Figure.savefig = lambda self, path, **_: Path(path).write_text("drawn")
    moments = random.Random(seed)
    started = time.monotonic()
    assert run_and_kill(outputs / "undisturbed", 300), "the undisturbed run did not finish"
    duration = time.monotonic() - started
    while kill_until_finished(outputs, moments, duration, kills) < FEWEST:
        shutil.rmtree(outputs / "killed")
        duration /= 2


def kill_until_finished(outputs: Path, moments: random.Random, duration: float, kills: int) -> int:
    """Return after how many kills the study ended."""
    recorded: dict = {}
    for kill in range(kills):
        moment = moments.uniform(duration / 10, duration / 3)
        finished = run_and_kill(outputs / "killed", moment)
        now = read_ledgers(outputs / "killed")
        assert recorded.items() <= now.items(), "a recorded evaluation was lost or altered"
        print(f"kill {kill}: {moment:.2f} s, {len(now)} values, finished={finished}", flush=True)
        recorded = now
        if finished:
            return kill
    assert run_and_kill(outputs / "killed", 300), "the last run, left alone, did not finish"
    return kills


def run_and_kill(outputs: Path, seconds: float) -> bool:
    """Return whether the study came to its end before it was killed."""
    child = os.fork()
    if child == 0:
        stages.run(make_study(outputs, *OVERRIDES), "all")
        os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            assert status == 0, f"the study failed with status {status}"
            return True
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
