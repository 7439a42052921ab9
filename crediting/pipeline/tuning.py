"""How many coalitions to train at once on one device: measured once per machine, kept, and said."""

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from crediting.executors import Processes
from crediting.game.coalition import grand_coalition
from crediting.interfaces import Executor
from crediting.ledger import fingerprint
from crediting.ledger.fingerprint import short
from crediting.ledger.store import atomic_write_text, versions
from crediting.pipeline.address import GameSpec
from crediting.pipeline.artifact import completed
from crediting.pipeline.coalition_models import CoalitionModels, train
from crediting.pipeline.encode import load_examples
from crediting.pipeline.machine import gpus, make_trainer, open_machine, release_memory
from crediting.pipeline.study import Study
from crediting.progress import say
from crediting.randomness import Stream
from crediting.recipe import Training
from crediting.replay import WARM_UP
from crediting.stacking import can_stack, train_stacked

STACKS = {"cpu": (1, 2, 4, 8, 16), "cuda": (1, 2, 4, 8, 16, 32, 64, 128, 256)}
SHARING = (2, 4)
"""Processes on one GPU; on a CPU the executor has one per core, whatever is measured here."""
RUN_IN, _STEPS = WARM_UP + 2, 6
"""Steps before the clock starts, when all is compiled and recorded, and steps that are timed."""
_WORTH_IT = 1.05
"""More at once must be so many times as fast: what is measured varies by less."""
_HOPELESS = 2.0
"""Where the best is so many times as fast, still more at once are not tried."""


class Tuning(NamedTuple):
    """Coalitions that a process trains at once, and processes that share a GPU."""

    stack: int
    processes: int


def tuned(study: Study, spec: GameSpec) -> tuple[Executor, int]:
    """Return the executor of a study and the size of its stacks, measured where that is `auto`.

    Stacked trainings differ from single ones by rounding, as another precision would.
    """
    asked = study.runtime["stack"]
    if asked != "auto":
        return study.executor, int(asked)
    chosen = _remembered(study, spec)
    executor = study.executor
    if isinstance(executor, Processes) and chosen.processes > 1:
        executor = executor.sharing(chosen.processes)
    return executor, chosen.stack


def job_size(tasks: int, width: int, stack: int) -> int:
    """Return how large jobs are, at most `stack`, so that all workers get equally many tasks."""
    rounds = -(-tasks // (width * stack))
    return -(-tasks // (width * rounds))


def _remembered(study: Study, spec: GameSpec) -> Tuning:
    """Return what was measured on such a machine before, or measure, write and say it."""
    setting = _setting(study, spec)
    path = study.store.root / f"tuning-{short(fingerprint('tuning', setting))}.json"
    if path.exists():
        found = json.loads(path.read_text())
        return Tuning(found["stack"], found["processes"])
    kind = open_machine(study.runtime).device.type
    stacks = _rates(STACKS[kind], lambda size: steps_per_second(study, spec, size))
    shared: dict[int, float] = {}
    if gpus(study.runtime) and study.config["executor"].get("workers") == "auto":
        shared = _rates(SHARING, lambda processes: _in_processes(study, spec, processes))
    chosen = choose(stacks, shared)
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {"stacks": stacks, "sharing": shared}
    atomic_write_text(path, json.dumps({**chosen._asdict(), **measured, **setting}, indent=2))
    say(_said(chosen, stacks, shared, path))
    return chosen


def choose(stacks: Mapping[int, float], shared: Mapping[int, float]) -> Tuning:
    """Return the fastest, given steps per second by stack and by processes; ties to the smaller."""
    best, fastest = Tuning(1, 1), stacks.get(1, 0.0)
    options = [(Tuning(size, 1), rate) for size, rate in sorted(stacks.items())]
    options += [(Tuning(1, processes), rate) for processes, rate in sorted(shared.items())]
    for option, rate in options:
        if rate > _WORTH_IT * fastest:
            best, fastest = option, rate
    return best


def steps_per_second(study: Study, spec: GameSpec, size: int) -> float:
    """Return the steps that trainings of `size` coalitions at once do, summed over them.

    0 where they cannot be stacked.
    """
    run = _prepared(study, spec, size)
    if run is None:
        return 0.0
    run()  # a second training may compile once more
    seconds = min(run() for _ in range(2))
    release_memory()
    return size * _STEPS / seconds


def _prepared(study: Study, spec: GameSpec, size: int) -> Callable[[], float] | None:
    """Return what trains and tells the seconds of `_STEPS` steps, or None if nothing is trained."""
    accelerator = open_machine(study.runtime)
    examples = load_examples(study, accelerator.device)
    trainer = make_trainer(examples, study.model, accelerator, study.runtime)
    folder = completed(study, spec.start, "prune")
    models = CoalitionModels(study, spec, folder, trainer)
    everybody = grand_coalition(len(study.partition))
    asked = [models.ask(everybody, 0) for _ in range(size)]
    trainings = [one for one in asked if isinstance(one, Training)]
    if len(trainings) < size or (size > 1 and not can_stack(trainer, trainings)):
        return None

    steps = RUN_IN + _STEPS
    brief = [replace(one, recipe=replace(one.recipe, steps=steps)) for one in trainings]

    def run() -> float:
        clock = Clock(accelerator.device)
        if size > 1:
            train_stacked(trainer, brief, Stream("tuning"), clock)
        else:
            train(trainer, brief[0], Stream("tuning"), clock)
        return clock.seconds()

    return run


class Clock:
    """Times the steps of a training but for the first ones; it is told of every step.

    Args:
        device: where it trains.
        run_in: how many steps come before the clock starts.
    """

    def __init__(self, device: torch.device, run_in: int = RUN_IN) -> None:
        self._device = device
        self._run_in = run_in
        self._started = 0.0

    def __call__(self, step: int) -> None:
        """Take notice of the number of finished steps."""
        if step == self._run_in:
            wait(self._device)
            self._started = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds since it started."""
        wait(self._device)
        return time.perf_counter() - self._started


def wait(device: torch.device) -> None:
    """Return when a device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def _rates(candidates: Sequence[int], measure: Callable[[int], float]) -> dict[int, float]:
    """Return what was measured of ever larger candidates, until one is hopeless or too large."""
    rates: dict[int, float] = {}
    for candidate in candidates:
        try:
            rate = measure(candidate)
        except torch.OutOfMemoryError:
            release_memory()
            break
        if not rate:
            break
        rates[candidate] = rate
        if rate < max(rates.values()) / _HOPELESS:
            break
    return rates


def _in_processes(study: Study, spec: GameSpec, processes: int) -> float:
    """Return the steps per second of single trainings in several processes on one GPU."""
    context = get_context("spawn")
    barrier, rates = context.Barrier(processes), context.Queue()
    members = [
        context.Process(target=_member, args=(study, spec, barrier, rates), daemon=True)
        for _ in range(processes)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join()
    return sum(rates.get() for _ in members) if not any(m.exitcode for m in members) else 0.0


def _member(study: Study, spec: GameSpec, barrier: Any, rates: Any) -> None:
    try:
        run = _prepared(study, spec, 1)
        assert run is not None, "single trainings were measured before"
        run()
        barrier.wait()
        rates.put(_STEPS / run())
    except BaseException:
        barrier.abort()
        raise


def _setting(study: Study, spec: GameSpec) -> dict[str, Any]:
    """Return all that speed depends on: the machine, how it is used, and what is trained."""
    on_gpu = bool(gpus(study.runtime))
    used = (
        "precision",
        "threads",
        "compile",
        "cuda_graphs",
        "channels_last",
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


def _said(
    chosen: Tuning, stacks: Mapping[int, float], shared: Mapping[int, float], path: Path
) -> str:
    measured = [f"{size} at once {rate:.0f}" for size, rate in stacks.items()]
    measured += [f"{count} processes {rate:.0f}" for count, rate in shared.items()]
    return (
        f"evaluate: {chosen.stack} coalitions at once in {chosen.processes} process"
        f"{'es' if chosen.processes > 1 else ''} per device, measured in steps per second: "
        f"{', '.join(measured) or 'nothing, as there is no training'} (kept in {path.name})"
    )
