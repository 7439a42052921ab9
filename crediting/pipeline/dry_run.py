"""What a command would do, what the store has of it, and how long the rest would take."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import torch

from crediting.executors import Processes, RayCluster
from crediting.game.coalition import CoalitionMatrix, coalition_keys
from crediting.interfaces import Task
from crediting.ledger import Ledger, short
from crediting.pipeline.address import Addressed, GameSpec
from crediting.pipeline.evaluate.diffusion_game import images_path
from crediting.pipeline.evaluate.schedule import Schedule
from crediting.pipeline.evaluate.stage import counted
from crediting.pipeline.evaluate.stopping import looks_at, rules_of
from crediting.pipeline.evaluate.tuning import known_width
from crediting.pipeline.extract.gauges import Gauge, gauged
from crediting.pipeline.file_names import obstacle
from crediting.pipeline.machine import gpus, make_trainer, open_machine, placed, wait_for_the_gpu
from crediting.pipeline.memory import drawable, predictions_per_image, tell_memory, typical_steps
from crediting.pipeline.study import Study
from crediting.pipeline.train import check_what_follows
from crediting.randomness import Stream
from crediting.reporting.forecast import humanise_seconds
from crediting.training import Recipe
from crediting.training.compiling import compiler
from crediting.training.examples import Examples
from crediting.training.recipe import Training

_CALIBRATION_STEPS = 5
_CALIBRATION_IMAGES = 4


class Pace(NamedTuple):
    """Seconds per training step, per denoiser call on one batch of images, and per image made.

    The last are those of decoding it and of looking at it with the extractors in the store.
    """

    training_step: float
    sampling_step: float
    image: float


class Work(NamedTuple):
    """Evaluations in the ledger, to come, and to measure on kept images.

    `seconds` are those of the ones to come, by what is recorded; NaN where nothing is.
    """

    recorded: int
    to_generate: int
    to_measure: int
    seconds: float


def dry_run(study: Study) -> None:
    """Print every stage with its fingerprint, its state and an estimate; store nothing.

    Raises:
        ConfigError: training would be refused, because what follows it cannot work, or what is
            left could not be compiled here.
    """
    if not study.store.is_complete(study.trained.stage, study.trained.fingerprint):
        check_what_follows(study, study.model.untrained(0))
    print(
        f"Study {study.name}: {len(study.partition)} contributors, properties "
        f"{', '.join(study.properties)}"
    )
    pace = cache(lambda: measure_pace(study))
    looks = looks_at(study)
    longest, at_most = study.with_budget(looks[-1]), "at most " if len(looks) > 1 else ""
    seconds = _tell_artifacts(study, pace) + tell_evaluations(longest, pace)
    if seconds > 0:
        compiler(study.runtime["compile"])
        tell_memory(study)
    for rule, value in rules_of(study).chosen.items():
        print(
            f"stop      {rule}={value:g}, looked at after {', '.join(map(str, looks))} coalitions"
        )
    print(
        f"estimate  {study.estimator.name} on {at_most}{len(longest.sample)} coalitions of "
        f"{study.design.name}"
    )
    hindered = obstacle(study.folder)
    print(f"report    {study.folder}{f', but {hindered} cannot be written to' if hindered else ''}")
    print(
        f"Altogether {at_most}{humanise_seconds(seconds)} of training and generating on this "
        f"machine, {known_width(study, study.game)} evaluations at a time"
        f"{_left_out(study, seconds)}. "
        "Nothing was run."
    )


def _left_out(study: Study, seconds: float) -> str:
    """Say of which extractors no forecast knows yet how long they look at an image."""
    unknown = [name for name in gauged(study) if not _is_extracted(study, name)]
    if not unknown or not seconds:
        return ""
    return (
        f", not counting feature extraction by {', '.join(unknown)}, which is measured after "
        "stage=extract"
    )


def _is_extracted(study: Study, name: str) -> bool:
    address = study.extracted[name]
    return study.store.is_complete(address.stage, address.fingerprint)


def _tell_artifacts(study: Study, pace: Callable[[], Pace]) -> float:
    """Print what is there before evaluation and what is not; return the seconds of training."""
    total = 0.0
    for label, address, recipe in _artifacts(study):
        if study.store.is_complete(address.stage, address.fingerprint):
            print(_line(label, address, "in the store"))
        elif recipe is None:
            print(_line(label, address, "to do"))
        else:
            seconds = pace().training_step * recipe.steps
            total += seconds
            print(_line(label, address, f"to do, {humanise_seconds(seconds)}"))
    return total


def tell_evaluations(study: Study, pace: Callable[[], Pace]) -> float:
    """Print what each game's ledger has and lacks; return the seconds of what it lacks."""
    total = 0.0
    for spec in study.games:
        coalitions = study.coalitions(spec)
        work = _work(study, spec, coalitions)
        state = f"{counted(study, len(coalitions))}, {work.recorded} in the ledger"
        if work.to_generate:
            seconds, proviso = work.seconds, ""
            if math.isnan(seconds):
                rounds = -(-work.to_generate // known_width(study, spec))
                seconds = rounds * _seconds_per_coalition(study, spec, pace())
                if spec is study.game and spec.finetuning.recipe is None:
                    proviso = " without fine-tuning, whose time is known once some are evaluated"
                proviso += _if_they_share_gpus(study, spec)
            total += seconds
            state += f", {work.to_generate} missing: {humanise_seconds(seconds)}{proviso}"
        if work.to_measure:
            state += f", {work.to_measure} to measure on kept images"
        print(_line("evaluate", spec.address, state))
    return total


def _if_they_share_gpus(study: Study, spec: GameSpec) -> str:
    """Say what is taken for granted of evaluators on one GPU: one alone is timed."""
    executor, found = study.executor, len(gpus(study.runtime))
    share = isinstance(executor, Processes) and 0 < found < known_width(study, spec)
    if isinstance(executor, RayCluster):
        share = 0 < float(executor.gpus_per_worker) < 1
    return ", if those that share a GPU do not slow each other down" if share else ""


def _artifacts(study: Study) -> Iterator[tuple[str, Addressed, Recipe | None]]:
    yield "encode", study.examples, None
    if study.model.conditional:
        yield "embed", study.prompts, None
    for address in study.extracted.values():
        yield "extract", address, None
    yield "train", study.trained, study.model.training
    for spec in {spec.start.fingerprint: spec for spec in study.games}.values():
        yield "prune", spec.start, spec.pruning.recovery


def _line(label: str, address: Addressed, state: str) -> str:
    return f"{label:9} {address.stage}-{short(address.fingerprint)}  {state}"


def _work(study: Study, spec: GameSpec, coalitions: CoalitionMatrix) -> Work:
    keys = coalition_keys(coalitions)
    missing = [Task(key, number, ()) for key in keys for number in study.replicates]
    wanted, durations = len(missing), list[tuple[str, float]]()
    ledger = Ledger.peek(study.stored_in(spec.address), spec.address.fingerprint)
    if ledger is not None:
        with ledger:
            missing = ledger.missing(keys, len(study.replicates), study.property_fingerprints)
            durations = ledger.durations()
    to_generate = [
        task
        for task in missing
        if not images_path(study, spec, task.coalition, task.replicate).exists()
    ]
    known = Schedule(to_generate, study.partition.sizes, [False] * len(to_generate), durations)
    return Work(
        wanted - len(missing),
        len(to_generate),
        len(missing) - len(to_generate),
        known.seconds_left(known_width(study, spec)),
    )


def _seconds_per_coalition(study: Study, spec: GameSpec, pace: Pace) -> float:
    """Estimate one evaluation from the dense model's pace: pruning makes it faster than that."""
    recipe, varying = spec.finetuning.recipe, getattr(spec.finetuning, "steps_vary", False)
    at_once = study.generation.at_once(open_machine(study.runtime).device.type)
    batches = -(-study.generation.images // at_once)
    steps = recipe.steps if recipe else 0
    if varying:
        steps = typical_steps(study, spec.finetuning)
    drawing = batches * study.generation.steps * pace.sampling_step
    return steps * pace.training_step + drawing + study.generation.images * pace.image


def measure_pace(study: Study) -> Pace:
    """Time a few steps of an untrained dense model on noise of the right shape, and its images."""
    accelerator = open_machine(study.runtime)
    denoiser = placed(study.model.untrained(0), accelerator.device, study.runtime)
    inputs = study.model.example_inputs(denoiser)
    recipe = replace(drawable(study, study.model.training), horizontal_flip=False, warmup=0.0)
    examples = _noise(inputs, recipe.batch_size)
    ids = torch.arange(len(examples), device=accelerator.device)
    trainer = make_trainer(examples, study.model, accelerator, study.runtime)
    one_step = Training(denoiser, replace(recipe, steps=1), ids)
    some_steps = Training(denoiser, replace(recipe, steps=_CALIBRATION_STEPS), ids)
    trainer.train(one_step, Stream("calibration"))
    training = _timed(lambda: trainer.train(some_steps, Stream("calibration")))
    batch = _noise(inputs, study.generation.at_once(accelerator.device.type))
    first = torch.arange(len(batch), device=accelerator.device)
    timesteps = torch.zeros_like(first)
    with torch.inference_mode(), accelerator.autocast():
        denoiser(batch.latents, timesteps, **batch.conditions(first))
        sampling = _timed(lambda: denoiser(batch.latents, timesteps, **batch.conditions(first)))
    image = _seconds_per_image(study, batch.latents[:_CALIBRATION_IMAGES])
    sampling *= predictions_per_image(study)
    return Pace(training / _CALIBRATION_STEPS, sampling, image)


@torch.inference_mode()
def _seconds_per_image(study: Study, latents: torch.Tensor) -> float:
    images = study.model.decode(latents)
    seconds = _timed(lambda: study.model.decode(latents))
    for name in gauged(study):
        if _is_extracted(study, name):
            gauge = Gauge(study, name, latents.device)
            gauge.features(images)
            seconds += _timed(partial(gauge.features, images))
    return seconds / len(latents)


def _noise(inputs: Mapping[str, torch.Tensor], count: int) -> Examples:
    """Return so many examples of noise, shaped as the denoiser's inputs are."""
    point = inputs["sample"]
    ids = torch.arange(count, device=point.device)
    latents = Stream("calibration").normal(ids, tuple(point.shape[1:]))
    captions = inputs.get("encoder_hidden_states")
    return Examples(
        latents, captions=captions, caption_of=None if captions is None else torch.zeros_like(ids)
    )


def _timed(work: Callable[[], object]) -> float:
    wait_for_the_gpu()
    started = time.perf_counter()
    work()
    wait_for_the_gpu()
    return time.perf_counter() - started
