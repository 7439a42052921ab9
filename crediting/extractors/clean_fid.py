"""The Inception network that FID is defined with, fed as clean-fid does (Parmar et al., 2022)."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from crediting.assets import UrlFile
from crediting.errors import DataError
from crediting.extractors.published import Published, in_batches, no_weights
from crediting.extractors.resizing import resized
from crediting.interfaces import Asset, Features

_KEY = "extractor.clean_fid.weights"
_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)


@dataclass(frozen=True)
class CleanFidInception(Published):
    """Pool features (N, 2048) of the TensorFlow Inception: FID and KID compare across papers.

    Images are brought to 299 pixels by PIL's bicubic resizing, without rounding, as in clean-fid's
    mode "clean", but on the device.

    Args:
        weights: a local `inception-2015-12-05.pt`, such as clean-fid keeps, or null.
        sha256: of the file, in hexadecimal. TorchScript brings code of its own, so nothing else
            is run; null takes any file, which must then be trusted.
        batch_size: images at a time.
    """

    weights: str | None
    sha256: str | None
    batch_size: int

    gives: ClassVar[tuple[str, ...]] = ("embeddings",)

    def assets(self) -> Mapping[str, Asset]:
        """Return the file of the network."""
        network = UrlFile(
            what="the Inception network of FID",
            url=_URL,
            sha256=self.sha256,
            size=95_607_719,
            licence="Apache-2.0",
            key=_KEY,
            local=self.weights,
        )
        return {"weights": network}

    def load(self, folder: Path) -> nn.Module:
        """Return the network.

        Raises:
            DataError: it is not there, not the published file, or no such network.
        """
        file = self.assets()["weights"]
        path = file.find()
        if self.sha256 is not None and file.digest() != self.sha256:
            raise DataError(
                f"{_KEY}: {path} is not the published file: expected sha256 {self.sha256}, got "
                f"{file.digest()}. Delete it, so that it is fetched anew, or name another."
            )
        with warnings.catch_warnings():
            # deprecated without a successor that reads this file
            warnings.filterwarnings("ignore", "`torch.jit.load` is", FutureWarning)
            warnings.filterwarnings("ignore", "`torch.jit.load` is", DeprecationWarning)
            return _Inception(_read(path)).eval()

    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return embeddings, float64 (N, 2048)."""
        return Features(in_batches(network, images, self.batch_size))


def _read(path: Path) -> nn.Module:
    try:
        network = torch.jit.load(path, map_location="cpu")
    except Exception as error:  # the reader raises whatever it stumbles over
        raise no_weights(path, _KEY, error) from error
    if not hasattr(network, "layers"):
        raise DataError(
            f"{_KEY}: {path} holds another network: expected one with `layers`, as published; name "
            "another file, or take the published one with extractor.clean_fid.weights=null."
        )
    return network


class _Inception(nn.Module):
    """From uint8 images to pool features."""

    def __init__(self, published: nn.Module) -> None:
        super().__init__()
        self.published = published.to(memory_format=torch.channels_last)  # convolutions are faster

    def forward(self, images: Tensor) -> Tensor:
        pixels = resized(images.expand(-1, 3, -1, -1), 299, 299)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        # the executor would else fuse kernels once it has seen some batches, and the last bits
        # of an image's features would depend on what came before it
        with torch.jit.optimized_execution(False):
            return self.published.layers((pixels - 128) / 128).flatten(1)
