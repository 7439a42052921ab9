"""Stage prune: the smaller model that all coalitions start from."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import PruningReport
from crediting.pipeline.address import GameSpec
from crediting.pipeline.artifact import completed, produce_once
from crediting.pipeline.likeness import likeness
from crediting.pipeline.memory import say_peak, start_watching
from crediting.pipeline.study import Study
from crediting.pipeline.train import (
    AVERAGED,
    RAW,
    open_trainer,
    save_model,
    train_on_everything,
)
from crediting.progress import say
from crediting.randomness import Stream
from crediting.training.loss import FixedTimestepLoss


def prune(study: Study) -> None:
    """Prune the full model for every game of the study, and let it recover on all data."""
    for spec in study.games:
        prune_for(study, spec)


def prune_for(study: Study, spec: GameSpec) -> None:
    """Make what a game starts from: raw weights pruned, as in the paper, and a fresh average."""
    produce_once(study, spec.start, "prune", partial(_prune, study, spec))


def _prune(study: Study, spec: GameSpec, folder: Path) -> dict[str, Any]:
    start_watching()
    source = completed(study, study.trained, "train")
    trainer = open_trainer(study)
    at_once = study.model.training.batch_size  # so many have fitted
    loss = FixedTimestepLoss(trainer.loss, Stream("prune", study.seed), at_once)
    dense = study.model.load(source, RAW).to(trainer.device)
    denoiser, report = _checked(spec.pruning.prune(dense, study.model, loss))
    if spec is study.endpoints:  # v(empty) takes an untrained twin: refused now if none exists
        study.model.reinitialise(denoiser, 0)
    del dense  # its memory is the recovery's
    recovery = spec.pruning.recovery
    pruned = not _same_weights(denoiser, study.model.load(source, RAW))
    if recovery is not None:
        averaged = train_on_everything(study, trainer, denoiser, recovery, "recover", folder)
    elif not pruned:
        averaged = study.model.load(source, AVERAGED).state_dict()
    else:
        averaged = {}  # nothing to average yet: the pruned weights as they are
    save_model(study, folder, denoiser, averaged)
    say(
        f"prune: {report.parameters_before:,} -> {report.parameters_after:,} parameters "
        f"({report.realised_ratio:.1%} removed), {report.macs_before:,} -> "
        f"{report.macs_after:,} multiply-adds per image and step"
    )
    facts = {**report._asdict(), "realised_ratio": report.realised_ratio}
    if pruned:
        del denoiser, averaged
        facts["likeness"] = _told_likeness(study, source, folder)
    return facts | say_peak("prune")


def _told_likeness(study: Study, full: Path, pruned: Path) -> float | None:
    """Return the likeness of a pruned model to the full one, and say it."""
    alike = likeness(study, full, pruned)
    unknown = "unknown: one of them gives NaN, or a side has less than 6 pixels"
    found = unknown if alike is None else f"{alike:.2f}"
    say(f"prune: SSIM to images of the full model from the same noise: {found}")
    return alike


def _checked(made: Any) -> tuple[nn.Module, PruningReport]:
    """Return what a pruning, which may be anybody's, made of a denoiser."""
    kinds = (nn.Module, PruningReport)
    found = made if isinstance(made, tuple) else (made,)
    if len(found) != len(kinds) or not all(map(isinstance, found, kinds)):
        got = ", ".join(type(one).__name__ for one in found)
        raise ConfigError(
            "pruning: expected prune() to return the smaller denoiser and a "
            f"crediting.interfaces.PruningReport, got {got}"
        )
    return found


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(
        torch.equal(tensor.cpu(), theirs[name].cpu()) for name, tensor in mine.items()
    )
