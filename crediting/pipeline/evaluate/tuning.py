"""How many coalitions to train at once on one device: measured once per machine, kept, and said."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from crediting.errors import is_out_of_memory
from crediting.executors import Processes
from crediting.files import atomic_write_text
from crediting.interfaces import Executor
from crediting.ledger import fingerprint, short, versions
from crediting.pipeline.address import GameSpec
from crediting.pipeline.evaluate.step_rates import in_processes, steps_per_second
from crediting.pipeline.machine import gpus, open_machine, release_memory
from crediting.pipeline.study import Study
from crediting.progress import say

STACKS = {"cpu": (1, 2, 4, 8, 16), "cuda": (1, 2, 4, 8, 16, 32, 64, 128, 256)}
SHARING = (2, 4)
"""Processes on one GPU; on a CPU the executor has one per core, whatever is measured here."""
_WORTH_IT = 1.05
"""More at once must be so many times as fast: what is measured varies by less."""
_HOPELESS = 2.0
"""Where the best is so many times as fast, still more at once are not tried."""


STACKED, SHARED = "stacks", "sharing"
"""What is measured, as the file names it."""

Rates = Mapping[int, float]


class Tuning(NamedTuple):
    """Coalitions that a process trains at once, and processes that share a GPU."""

    stack: int
    processes: int


def known_width(study: Study, spec: GameSpec) -> int:
    """Return how many coalitions are evaluated at once, by what was measured here so far."""
    return tuned(study, spec, measuring=False)[0].width()


def tuned(study: Study, spec: GameSpec, measuring: bool = True) -> tuple[Executor, int]:
    """Return the executor of a study and the size of its stacks, measured where that is `auto`.

    Without `measuring` they are what earlier measurements say. Stacked trainings differ from single
    ones by rounding, as another precision would.
    """
    asked = study.runtime["stack"]
    if asked != "auto":
        return study.executor, int(asked)
    executor = study.executor
    may_share = isinstance(executor, Processes) and study.config["executor"]["workers"] == "auto"
    sharing = may_share and bool(gpus(study.runtime))
    chosen = choose(*_remembered(study, spec, sharing, measuring))
    if isinstance(executor, Processes) and chosen.processes > 1:
        executor = executor.sharing(chosen.processes)
    return executor, chosen.stack


def job_size(tasks: int, width: int, stack: int) -> int:
    """Return how large jobs are, at most `stack`, so that all workers get equally many tasks."""
    rounds = -(-tasks // (width * stack))
    return -(-tasks // (width * rounds))


def _remembered(
    study: Study, spec: GameSpec, sharing: bool, measuring: bool
) -> tuple[Rates, Rates]:
    """Return steps per second by stack and, if processes may share a GPU, by their number.

    If wanted, measured, written and said where such a machine has not measured it before.
    """
    setting = _setting(study, spec)
    path = study.store.root / f"tuning-{short(fingerprint('tuning', setting))}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    wanted = (STACKED, SHARED) if sharing else (STACKED,)
    new = [key for key in wanted if key not in found] if measuring else []
    for key in new:
        trains = key == STACKED or found[STACKED]  # else even a single one had no rate
        found[key] = _measured(study, spec, key) if trains else {}
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps({**found, **setting}, indent=2))
    stacks, shared = (
        {int(count): rate for count, rate in found.get(key, {}).items()}
        for key in (STACKED, SHARED)
    )
    shared = shared if sharing else {}
    if new:
        say(_said(choose(stacks, shared), stacks, shared, path))
    return stacks, shared


def _measured(study: Study, spec: GameSpec, what: str) -> Rates:
    """Return steps per second, of stacks or of processes that share a GPU, and free the memory."""
    if what == STACKED:
        kind = open_machine(study.runtime).device.type
        found = _rates(STACKS[kind], lambda size: steps_per_second(study, spec, size))
    else:
        found = _rates(SHARING, lambda processes: in_processes(study, spec, processes))
    release_memory()
    return found


def choose(stacks: Rates, shared: Rates) -> Tuning:
    """Return the fastest, given steps per second by stack and by processes; ties to the smaller."""
    best, fastest = Tuning(1, 1), stacks.get(1, 0.0)
    options = [(Tuning(size, 1), rate) for size, rate in sorted(stacks.items())]
    options += [(Tuning(1, processes), rate) for processes, rate in sorted(shared.items())]
    for option, rate in options:
        if rate > _WORTH_IT * fastest:
            best, fastest = option, rate
    return best


def _rates(candidates: Sequence[int], measure: Callable[[int], float]) -> Rates:
    """Return what was measured of ever larger candidates, until one is hopeless or too large."""
    rates: dict[int, float] = {}
    for candidate in candidates:
        rate = _rate(candidate, measure)
        if not rate:
            break
        rates[candidate] = rate
        if rate < max(rates.values()) / _HOPELESS:
            break
    return rates


def _rate(candidate: int, measure: Callable[[int], float]) -> float:
    """Return what is measured of a candidate, 0 where memory does not suffice or it cannot be."""
    try:
        return measure(candidate)
    except RuntimeError as error:
        if not is_out_of_memory(error):  # such as an operation that torch does not batch
            say(f"tune: {candidate} at once cannot be trained here: {str(error).splitlines()[0]}")
    release_memory()  # only now is the memory free that the traceback held
    return 0.0


def _setting(study: Study, spec: GameSpec) -> dict[str, Any]:
    """Return all that speed depends on: the machine, how it is used, and what is trained."""
    on_gpu = bool(gpus(study.runtime))
    used = (
        "precision",
        "threads",
        "compile",
        "cuda_graphs",
        "channels_last",
        "deterministic",
        "gradient_checkpointing",
    )
    return {
        "machine": platform.machine(),
        "processor": torch.cuda.get_device_name() if on_gpu else _processor(),
        "versions": versions(),
        "runtime": {key: study.runtime[key] for key in used},
        "start": spec.start.fingerprint,
        "game": spec.address.fingerprint,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    lines = cpuinfo.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def _said(chosen: Tuning, stacks: Rates, shared: Rates, path: Path) -> str:
    measured = [f"{size} at once {rate:.0f}" for size, rate in stacks.items()]
    measured += [f"{count} processes {rate:.0f}" for count, rate in shared.items()]
    return (
        f"evaluate: {chosen.stack} coalitions at once in {chosen.processes} process"
        f"{'es' if chosen.processes > 1 else ''} per device, measured in steps per second: "
        f"{', '.join(measured) or 'nothing, as there is no training'} (kept in {path.name})"
    )
