"""How fast this machine trains and draws: a few steps of an untrained model are timed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from crediting.pipeline.address import GameSpec
from crediting.pipeline.extract.gauges import Gauge, gauged
from crediting.pipeline.machine import make_trainer, open_machine, placed, wait_for_the_gpu
from crediting.pipeline.memory import drawable, predictions_per_image, typical_steps
from crediting.pipeline.study import Study
from crediting.randomness import Stream
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


def seconds_per_coalition(study: Study, spec: GameSpec, pace: Pace) -> float:
    """Estimate one evaluation from the dense model's pace: pruning makes it faster than that."""
    recipe = spec.finetuning.recipe
    steps = recipe.steps if recipe else 0
    if getattr(spec.finetuning, "steps_vary", False):
        steps = typical_steps(study, spec.finetuning)
    at_once = study.generation.at_once(open_machine(study.runtime).device.type)
    batches = -(-study.generation.images // at_once)
    drawing = batches * study.generation.steps * pace.sampling_step
    return steps * pace.training_step + drawing + study.generation.images * pace.image


@torch.inference_mode()
def _seconds_per_image(study: Study, latents: torch.Tensor) -> float:
    images = study.model.decode(latents)
    seconds = _timed(lambda: study.model.decode(latents))
    for name in gauged(study):
        if study.has_stored(study.extracted[name]):
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
