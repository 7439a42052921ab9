"""The commands of SLURM, as far as submitit uses them, with processes of this machine.

`install` writes sbatch, srun, sacct, scancel and scontrol into a folder to be put on the PATH; each
is this program under another name. What they know of jobs lies in a folder beside them: of array
task 7_0 the process in `7_0.pid`, its last state in `7_0.state`.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")


def install(folder: Path) -> None:
    folder.mkdir()
    for name in COMMANDS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        script.chmod(0o755)
    (folder / "jobs").mkdir()
    (folder / "submissions").mkdir()


def jobs() -> Path:
    return Path(str(shutil.which("srun"))).parent / "jobs"


@contextmanager
def alone_with(job: str) -> Iterator[Path]:
    """Yield the state of a job while no other command reads or writes it."""
    with (jobs() / f"{job}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield jobs() / f"{job}.state"


def sbatch(script: str) -> None:
    """Start one process per array task, all at once, and say the number of the job."""
    text = Path(script).read_text()
    number = len(list((jobs().parent / "submissions").iterdir())) + 1
    (jobs().parent / "submissions" / str(number)).write_text(text)
    array = re.search(r"--array=0-(\d+)%", text)
    ids = [f"{number}_{i}" for i in range(int(array[1]) + 1)] if array else [str(number)]
    for job in ids:
        (jobs() / f"{job}.state").write_text("PENDING")
        subprocess.Popen(
            [sys.executable, __file__, "attend", job, script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    print(f"Submitted batch job {number}")


def attend(job: str, script: str) -> None:
    """Run an array task until its end, and again as often as it is queued again."""
    number, _, index = job.partition("_")
    env = {**os.environ, "SLURM_JOB_ID": number, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    if index:
        env |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    cpus = re.search(r"--cpus-per-task=(\d+)", Path(script).read_text())
    if cpus:
        env["SLURM_CPUS_PER_TASK"] = cpus[1]
    while True:
        with alone_with(job) as state:
            if is_cancelled(state):
                return
            state.write_text("RUNNING")
        code = subprocess.call(["sh", script], env=env)
        with alone_with(job) as state:
            if state.read_text() == "REQUEUED":
                continue
            if state.read_text() == "RUNNING":
                state.write_text("COMPLETED" if code == 0 else "FAILED")
            return


def is_cancelled(state: Path) -> bool:
    return state.read_text().startswith("CANCELLED")


def srun(*words: str) -> None:
    """Become the command, its output in the files that the options name."""
    command = list(words)
    while command[0].startswith("--"):
        option = command.pop(0)
        if option in ("--output", "--error"):
            job = os.environ["SLURM_JOB_ID"]
            path = command.pop(0).replace("%j", job).replace("%t", "0").replace("%A", job)
            path = path.replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1 if option == "--output" else 2)
    with alone_with(own_id()) as state:
        if is_cancelled(state):
            sys.exit(1)
        (jobs() / f"{own_id()}.pid").write_text(str(os.getpid()))
    os.execvp(command[0], command)


def own_id() -> str:
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    return os.environ["SLURM_JOB_ID"] + (f"_{index}" if index else "")


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for path in sorted(jobs().glob("*.state")):
        print(f"{path.stem}|{path.read_text()}|here")


def scancel(job: str, *words: str) -> None:
    """End a task, or send it a signal."""
    with alone_with(job) as state:
        if not words:
            state.write_text("CANCELLED by 0")
        pid = jobs() / f"{job}.pid"
        if pid.exists():
            name = words[-1] if words else "KILL"
            os.kill(int(pid.read_text()), signal.Signals[f"SIG{name.removeprefix('SIG')}"])


def scontrol(action: str, job: str) -> None:
    assert action == "requeue"
    with alone_with(job) as state:
        state.write_text("REQUEUED")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
