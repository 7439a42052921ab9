"""How many coalitions an hour are evaluated, against the straightforward loop on the same work.

    python benchmarks/reference_loop.py [--coalitions 64] [overrides as for `credit`]

Both have the study's model, data, coalitions, training steps, sampling steps and numbers of images,
and begin with model and data prepared. The loop (plain_loop.py) evaluates one coalition after
another with as many threads as there are cores; ours is the executor of the study, the start of
its workers included, as it comes, with stacked training, and with bf16, too. Utilities are
compared: they differ by luck, as two replicates of ours do.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plain_loop
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from table import row

from crediting import config
from crediting.game.coalition import coalition_key
from crediting.ledger import Ledger
from crediting.pipeline import stages
from crediting.pipeline.artifact import completed
from crediting.pipeline.evaluate.stage import evaluate_coalitions
from crediting.pipeline.study import Study
from crediting.pipeline.train import RAW

PREPARED = ("model.training.steps=500",)
"""The base training may be short: it is not what is timed."""
WAYS = {
    "as it comes": (),
    "stacked": ("runtime.stack=auto",),
    "stacked, bf16": ("runtime.stack=auto", "runtime.precision=bf16"),
}

Utilities = Mapping[str, NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--coalitions", type=int, default=64)
    arguments, overrides = parser.parse_known_args()
    for sampler in ("generation=ddim", "generation=dpm_solver"):
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), arguments.coalitions, [*PREPARED, sampler, *overrides])


def compare(folder: Path, coalitions: int, overrides: list[str]) -> None:
    study = make_study(folder, overrides)
    for stage in ("encode", "extract", "train", "prune"):
        stages.run(study, stage)
    rows = study.coalitions(study.game)[2 : 2 + coalitions]
    some = rows[: len(rows) // 3]  # the loop has no workers to start: each takes as long
    theirs, slow = ReferenceLoop(study, folder / "png").evaluate(some)
    theirs_per_hour = 3600 * len(some) / slow
    steps, images = study.game.finetuning.recipe.steps, study.generation.images
    print(f"{steps} training steps, {images} images in {study.generation.steps} steps, {overrides}")
    for way, settings in WAYS.items():
        # another budget is another study, but the same game: what was evaluated would be reused
        ours = make_study(folder, [*overrides, *settings])
        seconds = timed(ours, rows)
        row(
            f"digits, {overrides[1]}, {way}, {ours.executor.width()} workers",
            f"{3600 * len(rows) / seconds:.0f} coalitions per hour",
            f"{theirs_per_hour:.0f}: straightforward loop",
            f"{3600 * len(rows) / seconds / theirs_per_hour:.2f}",
        )
        tell_differences(ours, some, theirs)
        forget(ours)


def timed(study: Study, rows: NDArray[np.bool_]) -> float:
    started = time.perf_counter()
    evaluate_coalitions(study, study.game, rows)
    return time.perf_counter() - started


def tell_differences(study: Study, rows: NDArray[np.bool_], theirs: Utilities) -> None:
    """Print how far utilities are apart, beside what another replicate changes.

    All coalitions of a replicate start from the same noise, and share its luck; the loop's do not.
    """
    evaluate_coalitions(study.repeated(2), study.game, rows)
    keys = [coalition_key(row) for row in rows]
    folder, game = study.stored_in(study.game.address), study.game.address.fingerprint
    with Ledger(folder / "ledger.sqlite", game) as ledger:
        for name, fingerprint in study.property_fingerprints.items():
            ours, again = ledger.values(keys, 2, fingerprint).T
            print(
                f"  {name:16} mean {theirs[name].mean():9.4f} against {ours.mean():9.4f} and "
                f"{again.mean():9.4f}; apart (rms) {rms(theirs[name] - ours):.4f}, two replicates "
                f"{rms(again - ours):.4f}"
            )


def forget(study: Study) -> None:
    """Delete what was evaluated, so that it is evaluated again."""
    folder = study.stored_in(study.game.address)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def rms(differences: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(differences**2)))


def make_study(outputs: Path, overrides: list[str]) -> Study:
    config.register()
    words = config.of_this_experiment([f"paths.outputs={outputs}", *overrides])
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        plain = config.resolve(compose("config", words))
    return Study.assemble(plain, config.build(plain))


class ReferenceLoop:
    """Evaluates coalitions one after another, in this process."""

    def __init__(self, study: Study, folder: Path) -> None:
        self._study = study
        self._folder = folder
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._data = plain_loop.Pictures(study.dataset.training_images())
        self._alpha_bar = study.model.noise_scheduler().alphas_cumprod.to(self._device)

    def evaluate(self, rows: NDArray[np.bool_]) -> tuple[Utilities, float]:
        """Return utilities (m,) by property of coalitions (m, n), and the seconds that it took."""
        torch.manual_seed(0)
        before, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
        torch.set_num_threads(cores)
        started = time.perf_counter()
        found = [self._utilities(row) for row in rows]
        seconds = time.perf_counter() - started
        torch.set_num_threads(before)
        return {name: np.array([one[name] for one in found]) for name in found[0]}, seconds

    def _utilities(self, row: NDArray[np.bool_]) -> dict[str, float]:
        study = self._study
        denoiser = study.model.load(completed(study, study.game.start, "prune"), RAW)
        denoiser.to(self._device)
        examples = study.partition.examples(row).tolist()
        recipe = study.game.finetuning.recipe
        plain_loop.train(denoiser, self._data, examples, recipe, self._alpha_bar)
        batches = plain_loop.sample(denoiser, study.model, study.generation, self._device)
        plain_loop.write(self._folder, batches)
        return self._measure(plain_loop.read(self._folder).to(self._device))

    def _measure(self, generated: torch.Tensor) -> dict[str, float]:
        study = self._study
        reference = study.dataset.reference_images().to(self._device)
        found = {}
        for key, extractor in study.extractors.items():
            network = extractor.load(completed(study, study.extracted[key], "extract"))
            network.to(self._device)
            features = [extractor.features(network, images) for images in (reference, generated)]
            for name, measured in study.properties.items():
                if study.readers[name] == key:
                    found[name] = float(measured.bind(features[0])(features[1]))
        return found


if __name__ == "__main__":
    main()
