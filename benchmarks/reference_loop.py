"""How many coalitions an hour evaluates, against the straightforward loop, on the same work.

    python benchmarks/reference_loop.py [--coalitions 24] [overrides as for `credit`]

The reference is what most code for such studies amounts to (paper, sections 2 and 4): one process,
single precision, one coalition after another; a DataLoader makes tensors of images again for every
batch; generated images are written as PNG files and read back; the features of generated and of
reference images are computed for every coalition. It exists for comparison only, and has the
study's model, data, coalitions, training steps, sampling steps and numbers of images. Both begin
with model and data prepared; ours includes the start of its workers.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from crediting import config
from crediting.game.coalition import coalition_key
from crediting.ledger import Ledger
from crediting.pipeline import stages
from crediting.pipeline.artifact import completed
from crediting.pipeline.evaluate import evaluate_coalitions
from crediting.pipeline.study import Study
from crediting.pipeline.train import RAW

SAME_WORK = ("generation=ddim", "endpoints=same", "model.training.steps=200")
"""DDIM with 100 steps, as in the paper. The base training is short: it is not what is timed."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--coalitions", type=int, default=24)
    arguments, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder), [*SAME_WORK, *overrides])
        for stage in ("encode", "extract", "train", "prune"):
            stages.run(study, stage)
        rows = study.coalitions(study.game)[2 : 2 + arguments.coalitions]
        reference = ReferenceLoop(study, Path(folder) / "png")
        theirs, their_seconds = reference.evaluate(rows)
        started = time.perf_counter()
        evaluate_coalitions(study, study.game, rows)
        our_seconds = time.perf_counter() - started
        report(study, rows, theirs, their_seconds, our_seconds)


def make_study(outputs: Path, overrides: list[str]) -> Study:
    config.register()
    words = config.of_this_experiment([f"paths.outputs={outputs}", *overrides])
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        plain = config.resolve(compose("config", words))
    return Study.assemble(plain, config.build(plain))


def report(
    study: Study,
    rows: NDArray[np.bool_],
    theirs: Mapping[str, NDArray[np.float64]],
    their_seconds: float,
    our_seconds: float,
) -> None:
    """Print the ratio, and how far utilities differ beside what another replicate changes."""
    hour = 3600 * len(rows)
    print(
        f"reference loop {hour / their_seconds:.0f} coalitions per hour, ours "
        f"{hour / our_seconds:.0f} (x{study.executor.width()} workers): "
        f"{their_seconds / our_seconds:.2f} times"
    )
    evaluate_coalitions(study.repeated(2), study.game, rows)
    keys = [coalition_key(row) for row in rows]
    with Ledger(
        study.stored_in(study.game.address) / "ledger.sqlite", study.game.address.fingerprint
    ) as ledger:
        for name, fingerprint in study.property_fingerprints.items():
            ours, again = ledger.values(keys, 2, fingerprint).T
            print(
                f"{name:16} mean {theirs[name].mean():9.4f} against {ours.mean():9.4f}, rms difference "
                f"{rms(theirs[name] - ours):.4f}; between two replicates of ours {rms(again - ours):.4f}"
            )


def rms(differences: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(differences**2)))


class Folder(Dataset):
    """Images that are turned into tensors whenever they are asked for."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = [Image.fromarray(image.squeeze()) for image in images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor:
        pixels = np.asarray(self._images[index])
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return torch.from_numpy(pixels.copy()).float().div(127.5).sub(1)


class ReferenceLoop:
    """Evaluates coalitions one after another, in this process."""

    def __init__(self, study: Study, folder: Path) -> None:
        self._study = study
        self._folder = folder
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._data = Folder(to_arrays(study.dataset.training_images()))
        self._alpha_bar = study.model.noise_scheduler().alphas_cumprod.to(self._device)

    def evaluate(self, rows: NDArray[np.bool_]) -> tuple[dict[str, NDArray[np.float64]], float]:
        """Return utilities (m,) by property of coalitions (m, n), and the seconds that it took."""
        torch.manual_seed(0)
        started = time.perf_counter()
        found = [self._utilities(row) for row in rows]
        seconds = time.perf_counter() - started
        return {name: np.array([one[name] for one in found]) for name in found[0]}, seconds

    def _utilities(self, row: NDArray[np.bool_]) -> dict[str, float]:
        study = self._study
        denoiser = study.model.load(completed(study, study.game.start, "prune"), RAW)
        denoiser.to(self._device)
        self._train(denoiser, study.partition.examples(row))
        self._write(self._sample(denoiser))
        return self._measure()

    def _train(self, denoiser: nn.Module, examples: NDArray[np.int64]) -> None:
        recipe = self._study.game.finetuning.recipe
        optimizer = torch.optim.Adam(denoiser.parameters(), recipe.learning_rate)
        average = EMAModel(denoiser.parameters(), decay=recipe.ema_decay)
        denoiser.train()
        batches = forever(Subset(self._data, examples.tolist()), recipe.batch_size)
        for _, clean in zip(range(recipe.steps), batches, strict=False):
            clean = clean.to(self._device)
            noise = torch.randn_like(clean)
            half = torch.randint(len(self._alpha_bar), (len(clean) // 2 + 1,), device=self._device)
            mirrored = torch.cat([half, len(self._alpha_bar) - 1 - half])[: len(clean)]
            share = self._alpha_bar[mirrored].view(-1, 1, 1, 1)
            predicted = denoiser(share.sqrt() * clean + (1 - share).sqrt() * noise, mirrored).sample
            loss = F.mse_loss(predicted, noise)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(denoiser.parameters(), recipe.gradient_clip)
            optimizer.step()
            average.step(denoiser.parameters())
        average.copy_to(denoiser.parameters())

    @torch.no_grad()
    def _sample(self, denoiser: nn.Module) -> Iterator[torch.Tensor]:
        study, generation = self._study, self._study.generation
        denoiser.eval()
        scheduler = generation.make_scheduler(study.model.noise_scheduler())
        for first in range(0, generation.images, generation.batch_size):
            count = min(generation.batch_size, generation.images - first)
            points = torch.randn(count, *study.model.latent_shape(), device=self._device)
            scheduler.set_timesteps(generation.steps)
            for timestep in scheduler.timesteps:
                noise = denoiser(points, timestep).sample
                points = scheduler.step(noise, timestep, points).prev_sample
            yield study.model.decode(points)

    def _write(self, batches: Iterator[torch.Tensor]) -> None:
        self._folder.mkdir(exist_ok=True)
        images = np.concatenate([to_arrays(batch.cpu()) for batch in batches])
        for number, image in enumerate(images):
            Image.fromarray(image.squeeze()).save(self._folder / f"{number:06}.png")

    def _measure(self) -> dict[str, float]:
        study = self._study
        files = sorted(self._folder.glob("*.png"))
        generated = to_tensor([np.asarray(Image.open(file)) for file in files]).to(self._device)
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


def forever(data: Dataset, batch_size: int) -> Iterator[torch.Tensor]:
    """Yield batches, shuffled anew in every epoch; an incomplete last one is left out."""
    loader = DataLoader(data, min(batch_size, len(data)), shuffle=True, drop_last=True)  # type: ignore[arg-type]
    while True:
        yield from loader


def to_arrays(images: torch.Tensor) -> NDArray[np.uint8]:
    return images.permute(0, 2, 3, 1).numpy()


def to_tensor(images: list[NDArray[np.uint8]]) -> torch.Tensor:
    stacked = torch.from_numpy(np.stack(images))
    return stacked[:, None] if stacked.dim() == 3 else stacked.permute(0, 3, 1, 2)


if __name__ == "__main__":
    main()
