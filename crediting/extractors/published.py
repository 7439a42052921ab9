"""What extractors with published networks have in common: no fitting, reading weights, batches."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from crediting.assets.messages import in_short
from crediting.errors import ConfigError, DataError
from crediting.halving import in_halves

_COUNTER = ".num_batches_tracked"
_MEND = "Delete it, so that it is fetched anew, or name another."


class Published:
    """An extractor whose network is published: there is nothing to fit.

    Raises:
        ConfigError: fewer than one of its images are looked at at a time.
    """

    batch_size: int

    memory_settings: ClassVar[tuple[str, ...]] = ("batch_size",)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: expected 1 or more, got {self.batch_size}")

    def fit(self, images: Tensor, labels: NDArray[np.int64] | None, folder: Path) -> None:
        """Write nothing: `load` reads the published weights where they lie."""


@torch.inference_mode()
def in_batches(network: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Return what a network says of images (N, C, H, W), float64 (N, ...).

    So many at a time, or fewer where memory does not suffice.
    """
    return torch.cat(in_halves(lambda batch: network(batch).double(), images, batch_size))


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """Return a state dict as it is stored, on the CPU; a safetensors file is only mapped.

    Args:
        path: a safetensors file, or one written by torch.save, of which only tensors are read.
        key: the config key that names it.

    Raises:
        DataError: it is no complete file of weights.
    """
    try:
        if path.suffix == ".safetensors":
            stored = load_file(path)
        else:
            stored = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # readers raise whatever they stumble over
        raise no_weights(path, key, error) from error
    if isinstance(stored, Mapping) and all(isinstance(one, Tensor) for one in stored.values()):
        return dict(stored)
    raise DataError(
        f"{key}: expected {path} to hold tensors by name, and nothing else, got a "
        f"{type(stored).__name__}. {_MEND}"
    )


def no_weights(path: Path, key: str, error: Exception) -> DataError:
    """Return the error for a file that cannot be read as what `key` should name."""
    return DataError(f"{key}: {path} is no complete file of weights ({in_short(error)}). {_MEND}")


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path, key: str) -> nn.Module:
    """Return a network with all its weights, in evaluation mode and single precision.

    Args:
        network: may be without memory, on the meta device.
        weights: its state dict, complete and nothing else. Older files lack the numbers of batches
            that normalisations were trained on, which nothing reads.
        path: where they come from, for messages, as is key.
        key: the config key that names it.

    Raises:
        DataError: they are the weights of another network.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    counters = [name for name in expected if name.endswith(_COUNTER) and name not in weights]
    weights = {**weights, **{name: torch.zeros((), dtype=torch.int64) for name in counters}}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise DataError(
            f"{key}: {path} holds the weights of another network: {len(wrong)} tensors differ, "
            f"the first is {name}: expected shape {expected.get(name)}, "
            f"got {found.get(name)}. {_MEND}"
        )
    network.load_state_dict({name: _own(weight) for name, weight in weights.items()}, assign=True)
    return network.eval()


def _own(tensor: Tensor) -> Tensor:
    # a copy: mapped from a file, tensors start anywhere, for which kernels give other last bits
    return tensor.clone() if not tensor.is_floating_point() else tensor.to(torch.float32, copy=True)
