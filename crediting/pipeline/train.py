"""Stage train: the full model, trained on everybody's data."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crediting.errors import ConfigError, EvaluationError, is_out_of_memory, naming
from crediting.models.unet import NO_PRUNED_TWIN
from crediting.pipeline.artifact import produce_once
from crediting.pipeline.encode import load_examples
from crediting.pipeline.machine import (
    make_trainer,
    open_machine,
    placed,
    release_memory,
    training_processes,
)
from crediting.pipeline.memory import check_memory, say_peak, start_watching
from crediting.pipeline.study import Study
from crediting.progress import advance, bar
from crediting.randomness import Stream, derive_seed
from crediting.training import Recipe
from crediting.training.checkpoint import trainable
from crediting.training.distributed import run_together
from crediting.training.recipe import Training
from crediting.training.trainer import Trainer, partial_checkpoint

RAW, AVERAGED = "denoiser", "averaged"
"""Names of the raw and of the averaged (EMA) weights in a model's folder."""

_START = "checkpoint/start"
"""Where processes that share a training find the denoiser to begin with."""


def train(study: Study) -> None:
    """Train the full model and store its raw and averaged weights.

    Raises:
        ConfigError: what comes later cannot work on such a model, or the GPU cannot hold what
            training takes.
    """
    produce_once(study, study.trained, "train", partial(_train_model, study))


def _train_model(study: Study, folder: Path) -> dict[str, Any]:
    recipe, trainer = study.model.training, open_trainer(study)
    denoiser = study.model.untrained(derive_seed("initialise", study.seed))
    check_what_follows(study, denoiser)
    _check_recipes(study, trainer)
    check_memory(study, denoiser, trainer.device.type)
    start_watching()
    averaged = train_on_everything(study, trainer, denoiser, recipe, "train", folder)
    save_model(study, folder, denoiser, averaged)
    parameters = sum(p.numel() for p in trainable(denoiser).values())
    return {"parameters": parameters, "steps": recipe.steps, **say_peak("train")}


def check_what_follows(study: Study, denoiser: nn.Module) -> None:
    """Refuse now what would else be refused after hours of training.

    Args:
        study: of which nothing needs to be in the store.
        denoiser: the full model, untrained and on the CPU.

    Raises:
        ConfigError: the denoiser cannot be called, or pruning, fine-tuning or generation cannot
            work on such a model.
    """
    _check_call(study, denoiser)
    pruned_ends = getattr(study.endpoints.pruning, "removes_channels", False)
    if pruned_ends and getattr(study.model, "only_as_published", False):
        raise ConfigError(NO_PRUNED_TWIN)
    for spec in study.games:
        spec.pruning.check(denoiser, study.model)
        spec.finetuning.check(denoiser, study.model)
    study.generation.check(study.model)


def _check_call(study: Study, denoiser: nn.Module) -> None:
    """Call the denoiser on a point at the last timestep: not all that can be built, can be."""
    inputs, training = study.model.example_inputs(denoiser), denoiser.training
    last = len(study.model.noise_scheduler().alphas_cumprod) - 1
    try:
        with torch.no_grad():
            denoiser.eval()(**{**inputs, "timestep": torch.tensor([last])})
    except Exception as error:  # whatever a network stumbles over
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"model: the denoiser cannot be called on a point of shape "
            f"{tuple(inputs['sample'].shape[1:])} at timestep {last} ({type(error).__name__}: "
            f"{error}); correct its settings, those of a U-Net in model.unet"
        ) from error
    finally:
        denoiser.train(training)


def _check_recipes(study: Study, trainer: Trainer) -> None:
    recipes = [("model.training", study.model.training)]
    for spec in study.games:
        recipes += [
            ("pruning.recovery", spec.pruning.recovery),
            ("finetuning.recipe", spec.finetuning.recipe),
        ]
    for key, recipe in recipes:
        if recipe is not None:
            with naming(key, ConfigError):
                trainer.check(recipe)


def open_trainer(study: Study) -> Trainer:
    """Return a trainer on all encoded examples, on the device of the study."""
    accelerator = open_machine(study.runtime)
    examples = load_examples(study, accelerator.device)
    return make_trainer(examples, study.model, accelerator, study.runtime)


def train_on_everything(
    study: Study, trainer: Trainer, denoiser: nn.Module, recipe: Recipe, purpose: str, folder: Path
) -> dict[str, torch.Tensor]:
    """Train a denoiser in place on all data and return its averaged parameters by name.

    What a kill cut short is resumed from the folder. Where several processes share the training,
    they leave its end there, and this one resumes from that.

    Raises:
        EvaluationError: it diverged: all that is made of such weights would fail.
    """
    processes = training_processes(study.runtime)
    if processes > 1:
        study.model.save(folder / _START, denoiser, RAW)
        release_memory()
        share = partial(_take_part, study, recipe, purpose, folder)
        run_together(processes, trainer.device.type, share)
    averaged = _train(study, trainer, denoiser, recipe, purpose, folder, processes == 1)
    _check_finite([*denoiser.parameters(), *averaged.values()], purpose)
    return averaged


def _check_finite(weights: Iterable[torch.Tensor], purpose: str) -> None:
    if all(bool(tensor.isfinite().all()) for tensor in weights):
        return
    key = "model.training" if purpose == "train" else "pruning.recovery"
    raise EvaluationError(
        f"{purpose}: weights have become NaN or infinite, so training diverged; lower "
        f"{key}.learning_rate, or set {key}.gradient_clip. Nothing was made of it"
    )


def _take_part(study: Study, recipe: Recipe, purpose: str, folder: Path, rank: int) -> None:
    """Do what one of several processes has to do in a training."""
    trainer = open_trainer(study)
    denoiser = study.model.load(folder / _START, RAW)
    _train(study, trainer, denoiser, recipe, purpose, folder, rank == 0, recipe.steps)


def _train(
    study: Study,
    trainer: Trainer,
    denoiser: nn.Module,
    recipe: Recipe,
    purpose: str,
    folder: Path,
    shows: bool,
    end: int | None = None,
) -> dict[str, torch.Tensor]:
    """Train in this process, which shows the progress or does not; see TrainingCheckpoint."""
    every = study.runtime["checkpoint_seconds"]
    checkpoint = partial_checkpoint(folder, every, folder.name, end)
    with bar(purpose, recipe.steps) if shows else nullcontext() as progress:
        everybody = torch.arange(len(trainer.loss.examples), device=trainer.device)
        return trainer.train(
            Training(placed(denoiser, trainer.device, study.runtime), recipe, everybody),
            Stream(purpose, study.seed),
            checkpoint,
            lambda step: None if progress is None else advance(progress, step),
        )


def save_model(
    study: Study, folder: Path, denoiser: nn.Module, averaged: Mapping[str, torch.Tensor]
) -> None:
    """Store a denoiser with its raw weights and with the averaged ones, which it then holds."""
    study.model.save(folder, denoiser, RAW)
    denoiser.load_state_dict(averaged, strict=False)
    study.model.save(folder, denoiser, AVERAGED)
