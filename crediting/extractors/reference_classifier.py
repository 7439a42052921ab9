"""A small classifier trained once on the labelled reference images: for data without ImageNet."""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional as F

from crediting.errors import ArtifactError, ConfigError, DataError
from crediting.interfaces import Dataset, Features
from crediting.randomness import Stream, derive_seed

_FILE = "network.safetensors"


class ReferenceClassifier:
    """Convolutional classifier; embeddings are its last hidden layer.

    Args:
        channels: width of the two convolutions.
        embedding: width d of the embedding.
        steps: training steps with Adam.
        batch_size: images per step, also at extraction.
        learning_rate: of Adam, falling linearly to zero.
        shift: training images are moved at random, by up to so many pixels each way,
        rotate: turned by up to so many degrees,
        scale: and enlarged or reduced by up to this share.
        seed: identity of its randomness.
    """

    gives: ClassVar[tuple[str, ...]] = ("embeddings", "logits")

    def __init__(
        self,
        channels: int,
        embedding: int,
        steps: int,
        batch_size: int,
        learning_rate: float,
        shift: float,
        rotate: int | float,
        scale: float,
        seed: int,
    ) -> None:
        for key, value in (
            ("channels", channels),
            ("embedding", embedding),
            ("steps", steps),
            ("batch_size", batch_size),
        ):
            if value < 1:
                raise ConfigError(f"{key}: expected 1 or more, got {value}")
        if not 0 < learning_rate < math.inf:
            raise ConfigError(f"learning_rate: expected a positive number, got {learning_rate}")
        self._channels = channels
        self._embedding = embedding
        self._steps = steps
        self._batch_size = batch_size
        self._learning_rate = learning_rate
        self._shift = shift
        self._rotate = rotate
        self._scale = scale
        self._seed = seed

    def check(self, dataset: Dataset) -> None:
        """Raise DataError if the dataset has no labels for its reference images."""
        _labels(dataset.reference_labels())

    def fit(self, images: torch.Tensor, labels: NDArray[np.int64] | None, folder: Path) -> None:
        """Train on images, uint8 (N, C, H, W), and labels (N,); write `network.safetensors`.

        Raises:
            DataError: the dataset has no labels for its reference images.
        """
        targets = torch.as_tensor(_labels(labels), device=images.device)
        network = self._untrained(images.shape[1], int(targets.max()) + 1).to(images.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self._learning_rate)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self._steps)
        everything = torch.arange(len(images), device=images.device)
        for step in range(self._steps):
            stream = Stream("classifier", self._seed, step)
            ids = stream.choose(everything, self._batch_size)
            batch = self._jittered(_scaled(images[ids]), stream, ids)
            loss = F.cross_entropy(network(batch)[1], targets[ids])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
        weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        # plain bytes, not safetensors' own writer: a full disk then is an OSError that says so
        (folder / _FILE).write_bytes(save(weights))

    def load(self, folder: Path) -> nn.Module:
        """Return the classifier whose weights are in `network.safetensors`.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        weights = _read(folder / _FILE)
        n_channels, n_classes = weights["first.weight"].shape[1], len(weights["classes.bias"])
        network = self._untrained(n_channels, n_classes)
        network.load_state_dict(weights)
        return network.eval()

    @torch.inference_mode()
    def features(self, network: nn.Module, images: torch.Tensor) -> Features:
        """Return embeddings (N, embedding) and logits (N, classes), float64."""
        batches = [network(_scaled(batch)) for batch in images.split(self._batch_size)]
        embeddings, logits = (torch.cat(parts).double() for parts in zip(*batches, strict=True))
        return Features(embeddings, logits)

    def _jittered(self, images: torch.Tensor, stream: Stream, ids: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, H, W), each shifted, rotated and scaled by amounts of its own."""

        def within(limit: float, purpose: str) -> torch.Tensor:
            return ((2 * stream.at(purpose).uniform(ids) - 1) * limit).float()

        angle = within(math.radians(self._rotate), "rotate")
        size = 1 + within(self._scale, "scale")
        height, width = images.shape[-2:]
        right = within(2 * self._shift / width, "right")  # the image is 2 wide and 2 high
        down = within(2 * self._shift / height, "down")
        cos, sin = size * angle.cos(), size * angle.sin()
        tall = height / width
        maps = torch.stack([cos, -sin * tall, right, sin / tall, cos, down], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def _untrained(self, n_channels: int, n_classes: int) -> "_Classifier":
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would reseed every accelerator, too
            torch.default_generator.manual_seed(derive_seed("classifier", self._seed))
            return _Classifier(n_channels, self._channels, self._embedding, n_classes)


def _labels(known: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the labels of reference images; raises DataError if there are none."""
    if known is None:
        raise DataError(
            "extractor.reference_classifier: it learns from the labels of the reference images, "
            "and this dataset has none. Choose extractor=[inception_v3], or give it some: "
            "dataset=image_folder reads them from the column label of its manifest, or from the "
            "folders in dataset.reference."
        )
    return known


class _Classifier(nn.Module):
    """Two convolutions, averages over a 4x4 grid, one hidden layer, class logits."""

    def __init__(self, n_channels: int, channels: int, embedding: int, n_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.hidden = nn.Linear(channels * 16, embedding)
        self.classes = nn.Linear(embedding, n_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = F.relu(self.second(F.relu(self.first(images))))
        embedding = F.relu(self.hidden(F.adaptive_avg_pool2d(maps, 4).flatten(1)))
        return embedding, self.classes(embedding)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        # mapped from the file, tensors start anywhere, for which kernels give other last bits
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (FileNotFoundError, SafetensorError) as error:
        raise ArtifactError(
            f"{path}: expected the weights of the reference classifier ({error}). Delete the "
            f"folder {path.parent} and run the same command again."
        ) from error


def _scaled(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 pixels as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
