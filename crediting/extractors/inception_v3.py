"""Inception-v3 trained on ImageNet, as torchvision publishes it: for real images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crediting.assets import UrlFile
from crediting.extractors.published import Published, fill, read_weights
from crediting.halving import in_halves
from crediting.interfaces import Asset, Features

_KEY = "extractor.inception_v3.weights"
_URL = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"


@dataclass(frozen=True)
class InceptionV3(Published):
    """Pool features (N, 2048) and ImageNet logits (N, 1000), as the paper's inception score uses.

    Images are enlarged bilinearly to 299 pixels and scaled to [-1, 1]. These are torchvision's
    weights; FID from them is comparable within a study, not with FID from the TensorFlow network.

    Args:
        weights: a local `inception_v3_google-0cc3c7bd.pth`, or null for the published one.
        batch_size: images at a time.
    """

    weights: str | None
    batch_size: int

    gives: ClassVar[tuple[str, ...]] = ("embeddings", "logits")

    def assets(self) -> Mapping[str, Asset]:
        """Return the file of weights."""
        weights = UrlFile(
            what="the network Inception-v3",
            url=_URL,
            sha256="0cc3c7bd",
            size=108_950_000,
            licence="BSD-3-Clause",
            key=_KEY,
            local=self.weights,
        )
        return {"weights": weights}

    def load(self, folder: Path) -> nn.Module:
        """Return the network.

        Raises:
            DataError: the weights are not there, damaged, or of another network.
        """
        from torchvision.models import inception_v3

        path = self.assets()["weights"].find()
        with torch.device("meta"):
            network = inception_v3(
                weights=None, transform_input=False, aux_logits=True, init_weights=False
            )
        filled = fill(network, read_weights(path, _KEY), path, _KEY)
        return filled.to(memory_format=torch.channels_last)  # in which convolutions are faster

    @torch.inference_mode()
    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return embeddings (N, 2048) and logits (N, 1000), float64."""
        seen: list[Tensor] = []
        hook = network.avgpool.register_forward_hook(
            lambda module, inputs, output: seen.append(output.flatten(1).double())
        )

        def both(batch: Tensor) -> tuple[Tensor, Tensor]:
            seen.clear()
            logits = network(_prepared(batch)).double()
            return seen[0], logits

        try:
            pooled, logits = zip(*in_halves(both, images, self.batch_size), strict=True)
        finally:
            hook.remove()
        return Features(torch.cat(pooled), torch.cat(logits))


def _prepared(images: Tensor) -> Tensor:
    """Return uint8 images (N, 1 or 3, H, W) as float32 (N, 3, 299, 299) in [-1, 1]."""
    pixels = (images.float() / 127.5 - 1).expand(-1, 3, -1, -1)
    large = F.interpolate(pixels, size=(299, 299), mode="bilinear", align_corners=False)
    return large.contiguous(memory_format=torch.channels_last)
