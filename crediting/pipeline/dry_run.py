"""What a command would do, what the store has of it, and how long the rest would take."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from crediting.game.coalition import coalition_key
from crediting.interfaces import Task
from crediting.ledger import Ledger, short
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import Addressed, GameSpec, Study
from crediting.randomness import Stream
from crediting.reporting.forecast import humanise_seconds
from crediting.training import Recipe, Trainer

_CALIBRATION_STEPS = 5


class Pace(NamedTuple):
    """Seconds per training step, and per denoiser call on one batch of generated images."""

    training_step: float
    sampling_step: float


def dry_run(study: Study) -> None:
    """Print every stage with its fingerprint, its state and an estimate; store nothing."""
    print(
        f"Study {study.name}: {len(study.partition)} contributors, properties "
        f"{', '.join(study.properties)}"
    )
    pace = None
    total = 0.0
    for label, address, recipe in _artifacts(study):
        if study.store.is_complete(address.stage, address.fingerprint):
            print(_line(label, address, "in the store"))
            continue
        pace = pace or _calibrate(study)
        seconds = pace.training_step * recipe.steps if recipe else 0.0
        total += seconds
        print(_line(label, address, f"to do, {humanise_seconds(seconds)}"))
    for spec in study.games:
        tasks, wanted, known_seconds = _missing(study, spec)
        if tasks and known_seconds is None:
            pace = pace or _calibrate(study)
            known_seconds = _seconds_per_coalition(study, spec, pace)
        duration = len(tasks) * (known_seconds or 0.0) / study.executor.width()
        total += duration
        state = f"{wanted} distinct coalitions, {wanted - len(tasks)} in the ledger"
        if tasks:
            state += f", {len(tasks)} missing: {humanise_seconds(duration)}"
        print(_line("evaluate", spec.address, state))
    print(
        f"estimate  {study.estimator.name} on {len(study.sample)} coalitions of {study.design.name}"
    )
    print(f"report    {study.folder}")
    print(
        f"Altogether {humanise_seconds(total)} on this machine, {study.executor.width()} "
        "evaluations at a time. Nothing was run."
    )


def _artifacts(study: Study) -> Iterator[tuple[str, Addressed, Recipe | None]]:
    yield "train", study.trained, study.model.training
    for spec in study.games:
        yield "prune", spec.start, spec.pruning.recovery
    yield "extract", study.extracted, None


def _line(label: str, address: Addressed, state: str) -> str:
    return f"{label:9} {address.stage}-{short(address.fingerprint)}  {state}"


def _missing(study: Study, spec: GameSpec) -> tuple[list[Task], int, float | None]:
    """Return the missing evaluations, how many are wanted, and the mean seconds of earlier ones."""
    keys = [coalition_key(row) for row in study.coalitions(spec)]
    wanted = len(keys) * len(study.replicates)
    folder = study.store.folder(spec.address.stage, spec.address.fingerprint)
    ledger = Ledger.peek(folder, spec.address.fingerprint)
    if ledger is None:
        names = tuple(study.properties)
        return [Task(key, r, names) for key in keys for r in study.replicates], wanted, None
    with ledger:
        tasks = ledger.missing(keys, len(study.replicates), study.property_fingerprints)
        return tasks, wanted, ledger.mean_seconds()


def _seconds_per_coalition(study: Study, spec: GameSpec, pace: Pace) -> float:
    """Estimate one evaluation from the dense model's pace: pruning makes it faster than that."""
    recipe = spec.finetuning.recipe
    batches = -(-study.generation.images // study.generation.batch_size)
    steps = recipe.steps if recipe else 0
    return steps * pace.training_step + batches * study.generation.steps * pace.sampling_step


def _calibrate(study: Study) -> Pace:
    """Time a few steps of an untrained dense model on noise of the right shape."""
    accelerator = open_machine(study.runtime)
    recipe = study.model.training
    ids = torch.arange(recipe.batch_size, device=accelerator.device)
    latents = Stream("calibration").normal(ids, study.model.latent_shape())
    trainer = Trainer(latents, study.model.noise_scheduler(), accelerator)
    denoiser = study.model.untrained(0).to(accelerator.device)
    short_recipe = replace(recipe, steps=_CALIBRATION_STEPS)
    trainer.train(denoiser, replace(recipe, steps=1), ids, Stream("calibration"))
    training = _timed(lambda: trainer.train(denoiser, short_recipe, ids, Stream("calibration")))
    images = min(study.generation.batch_size, study.generation.images)
    batch = Stream("calibration").normal(
        torch.arange(images, device=accelerator.device), study.model.latent_shape()
    )
    timesteps = torch.zeros(images, dtype=torch.long, device=accelerator.device)
    with torch.inference_mode():
        denoiser(batch, timesteps)
        sampling = _timed(lambda: denoiser(batch, timesteps))
    return Pace(training / _CALIBRATION_STEPS, sampling)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
