"""Stage prune: the smaller model that all coalitions start from."""

from pathlib import Path
from typing import Any

from crediting.loss import DenoisingLoss, FixedTimestepLoss
from crediting.pipeline.address import GameSpec
from crediting.pipeline.artifact import completed, produce_once
from crediting.pipeline.encode import load_examples
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import Study
from crediting.pipeline.train import AVERAGED, RAW, save_model, train_on_everything
from crediting.progress import say
from crediting.randomness import Stream


def prune(study: Study) -> None:
    """Prune the full model for every game of the study, and let it recover on all data."""
    for spec in study.games:
        _prune_for(study, spec)


def _prune_for(study: Study, spec: GameSpec) -> None:
    """Prune the raw weights, as the paper does; recovery starts a fresh average."""

    def produce(folder: Path) -> dict[str, Any]:
        source = completed(study, study.trained, "train")
        accelerator = open_machine(study.runtime)
        dense = study.model.load(source, RAW).to(accelerator.device)
        denoiser, report = spec.pruning.prune(dense, study.model, _timestep_loss(study))
        if spec.pruning.recovery is not None:
            averaged = train_on_everything(
                study, denoiser, spec.pruning.recovery, "recover", folder
            )
        elif denoiser is dense:
            averaged = study.model.load(source, AVERAGED).state_dict()
        else:
            averaged = {}  # nothing to average yet: the pruned weights as they are
        save_model(study, folder, denoiser, averaged)
        say(
            f"prune: {report.parameters_before:,} -> {report.parameters_after:,} parameters "
            f"({report.realised_ratio:.1%} removed), {report.macs_before:,} -> "
            f"{report.macs_after:,} multiply-adds per image and step"
        )
        return {**report._asdict(), "realised_ratio": report.realised_ratio}

    produce_once(study, spec.start, "prune", produce)


def _timestep_loss(study: Study) -> FixedTimestepLoss:
    """Return the training loss that pruning methods may look at, always on the same examples."""
    examples = load_examples(study, open_machine(study.runtime).device)
    loss = DenoisingLoss(examples, study.model.noise_scheduler())
    return FixedTimestepLoss(loss, Stream("prune", study.seed))
