"""Whether a pruned model draws what the full one does, told before coalitions are paid for."""

import copy
from pathlib import Path

import torch

from crediting.errors import EvaluationError
from crediting.interfaces import Generation
from crediting.pipeline.encode import load_prompts
from crediting.pipeline.machine import open_machine, placed
from crediting.pipeline.study import Study
from crediting.pipeline.train import AVERAGED
from crediting.randomness import derive_seed

IMAGES = 50
"""Of each model; the paper's authors look at as many."""

_MARGIN = 5
"""Pixels that the window reaches beyond its middle: smaller images cannot be mirrored so far."""


def likeness(study: Study, full: Path, pruned: Path) -> float | None:
    """Return the mean SSIM of images that two stored models draw from the same noise.

    By it the paper's authors choose the pruning of ArtBench's LoRA; 1 is the same image. None where
    one of them does not draw images at all, or images are of so few pixels that there is none.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    try:
        one, other = (_drawn(study, folder) for folder in (full, pruned))
    except EvaluationError:
        return None
    if min(one.shape[2:]) <= _MARGIN:
        return None
    return float(structural_similarity_index_measure(one, other, data_range=255.0))


def _drawn(study: Study, folder: Path) -> torch.Tensor:
    """Return what a stored model draws, float (N, C, H, W) from 0 to 255."""
    accelerator = open_machine(study.runtime)
    denoiser = placed(study.model.load(folder, AVERAGED), accelerator.device, study.runtime)
    seed = derive_seed("likeness", study.seed)
    prompts = load_prompts(study, accelerator.device)
    with accelerator.autocast():
        return _few(study.generation).generate(denoiser, study.model, seed, prompts).float()


def _few(generation: Generation) -> Generation:
    few = copy.copy(generation)
    try:
        few.images = min(IMAGES, generation.images)
    except AttributeError:  # somebody's own, which is not to be changed, draws as many as it does
        return generation
    return few
