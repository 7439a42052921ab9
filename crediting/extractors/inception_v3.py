"""Inception-v3 trained on ImageNet, as torchvision publishes it: for real images."""

from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from crediting.errors import DataError
from crediting.interfaces import Features

_URL = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
_ADVICE = f"Download {_URL} and name the file with extractor.weights=<file>."


class InceptionV3:
    """Pool features (N, 2048) and ImageNet logits (N, 1000), as the paper's inception score uses.

    Images are enlarged bilinearly to 299 pixels and scaled to [-1, 1]. These are torchvision's
    weights; FID from them is comparable within a study, not with FID from the TensorFlow network.

    Args:
        weights: a local `inception_v3_google-0cc3c7bd.pth`, or null to use torchvision's own
            cache and download it (104 MB) on first use.
        batch_size: images at a time.
    """

    def __init__(self, weights: str | None, batch_size: int) -> None:
        self._weights = weights
        self._batch_size = batch_size

    def fit(self, images: torch.Tensor, labels: NDArray[np.int64] | None) -> nn.Module:
        """Return the published network on the device of the images; nothing is trained.

        Raises:
            DataError: the weights are neither local nor within reach, or of another network.
        """
        weights = _downloaded() if self._weights is None else _local(Path(self._weights))
        network = _architecture()
        try:
            network.load_state_dict(weights)
        except (RuntimeError, TypeError) as error:
            raise DataError(
                f"extractor.weights: {self._weights} does not hold the weights of torchvision's "
                f"inception_v3 ({error}). {_ADVICE}"
            ) from error
        return network.to(images.device).eval()

    def load(self, folder: Path) -> nn.Module:
        """Return the network whose weights are in `network.safetensors`."""
        network = _architecture()
        network.load_state_dict(load_file(folder / "network.safetensors"))
        return network.eval()

    @torch.inference_mode()
    def features(self, network: nn.Module, images: torch.Tensor) -> Features:
        """Return embeddings (N, 2048) and logits (N, 1000), float64."""
        pooled: list[torch.Tensor] = []
        hook = network.avgpool.register_forward_hook(
            lambda module, inputs, output: pooled.append(output.flatten(1).double())
        )
        try:
            logits = [network(_prepared(b)).double() for b in images.split(self._batch_size)]
        finally:
            hook.remove()
        return Features(torch.cat(pooled), torch.cat(logits))


def _local(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise DataError(f"extractor.weights: there is no file {path}. {_ADVICE}")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise DataError(
            f"extractor.weights: {path} is no complete file of weights ({error}). {_ADVICE}"
        ) from error


def _downloaded() -> dict[str, torch.Tensor]:
    try:
        return torch.hub.load_state_dict_from_url(
            _URL, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, HTTPException, RuntimeError, UnpicklingError, EOFError) as error:
        raise DataError(
            f"the weights of Inception-v3 (104 MB) could not be fetched ({error}). {_ADVICE}"
        ) from error


def _architecture() -> nn.Module:
    """Return the network without values: every weight is loaded afterwards."""
    from torchvision.models import inception_v3

    with torch.device("meta"):
        network = inception_v3(
            weights=None, transform_input=False, aux_logits=True, init_weights=False
        )
    return network.to_empty(device="cpu")


def _prepared(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 images (N, 1 or 3, H, W) as float32 (N, 3, 299, 299) in [-1, 1]."""
    pixels = (images.float() / 127.5 - 1).expand(-1, 3, -1, -1)
    return F.interpolate(pixels, size=(299, 299), mode="bilinear", align_corners=False)
