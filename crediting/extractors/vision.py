"""Published vision transformers, read from the folder of a model of the Hugging Face hub."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crediting.assets.messages import in_short
from crediting.errors import DataError
from crediting.extractors.published import fill, read_weights

_BICUBIC = 3  # PIL's number of it
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
"""Where a model keeps its weights: the first of them that is there."""

ANY_WEIGHTS = "*model.[sb]*"
"""The pattern that matches either of them, and no weights of other libraries."""


class VisionTower(nn.Module):
    """Prepares images as a network wants them, and returns one of its outputs.

    Args:
        preprocessing: from uint8 images to what the network sees.
        network: a vision model of transformers.
        output: the name of the output, (N, d).
    """

    def __init__(self, preprocessing: "Preprocessing", network: nn.Module, output: str) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.network = network
        self._output = output

    def forward(self, images: Tensor) -> Tensor:
        """Return the output for images, uint8 (N, 1 or 3, H, W)."""
        return getattr(self.network(pixel_values=self.preprocessing(images)), self._output)


class Preprocessing(nn.Module):
    """What a model's own image processor does, on the device: resize, crop, normalise.

    Resizing is bicubic and antialiased as by PIL, whose integers it meets to within one level of
    255, or a few where enlarging overshoots, which PIL cuts off after each of the two directions;
    images that need no resizing come out the same.

    Args:
        settings: as in `preprocessor_config.json`; a size that is one number is the shorter side
            where images are then cropped, else both sides.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        crop = settings["crop_size"] if settings.get("do_center_crop", False) else None
        self._crop = None if crop is None else _height_and_width(crop)
        self._size = _target_size(settings["size"], cropped=crop is not None)
        for name in ("mean", "std"):
            values = torch.tensor(settings[f"image_{name}"]).view(3, 1, 1)
            self.register_buffer(name, 255 * values, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return images, uint8 (N, 1 or 3, H, W), as float32 (N, 3, h, w)."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as transforms

        resized = transforms.resize(images, self._size, InterpolationMode.BICUBIC, antialias=True)
        cropped = resized if self._crop is None else transforms.center_crop(resized, self._crop)
        return (cropped.expand(-1, 3, -1, -1).float() - self.mean) / self.std


def read_preprocessing(folder: Path, key: str) -> Preprocessing:
    """Return what `preprocessor_config.json` in a folder asks for.

    Raises:
        DataError: it is missing, or asks for what is not known here.
    """
    settings = _read_json(folder / "preprocessor_config.json", key)
    if settings.get("resample", _BICUBIC) != _BICUBIC:
        raise DataError(
            f"{key}: {folder / 'preprocessor_config.json'} asks for resample="
            f"{settings['resample']}; expected {_BICUBIC} (bicubic)"
        )
    try:
        return Preprocessing(settings)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{key}: {folder / 'preprocessor_config.json'} does not say how images are to be "
            f"prepared ({type(error).__name__}: {error}); expected size, image_mean, image_std"
        ) from error


def read_config(folder: Path, config_class: Any, key: str) -> Any:
    """Return the architecture that `config.json` in a folder describes, as of a transformers class.

    Raises:
        DataError: it is missing, or describes another kind of model.
    """
    settings = _read_json(folder / "config.json", key)
    if settings.get("model_type") != config_class.model_type:
        raise DataError(
            f"{key}: expected {folder} to hold a model of type {config_class.model_type}, "
            f"got {settings.get('model_type')}"
        )
    with _described(folder, key):
        return config_class.from_dict(settings)


def assemble(
    build: Callable[[], nn.Module], folder: Path, key: str, prefixes: Mapping[str, str]
) -> nn.Module:
    """Return a network with its share of a model's weights, in evaluation mode.

    Args:
        build: the network, whose values are of no account.
        folder: holds `model.safetensors` or `pytorch_model.bin`.
        key: the config key that names it.
        prefixes: what the names of the network's share start with, and what stands there instead.

    Raises:
        DataError: the weights are missing, damaged or of another network.
    """
    from accelerate import init_empty_weights

    path = _weights_file(folder, key)
    share = {
        new + name.removeprefix(old): tensor
        for name, tensor in read_weights(path, key).items()
        for old, new in prefixes.items()
        # constants, which old files hold and networks make by themselves
        if name.startswith(old) and not name.endswith(".position_ids")
    }
    with (
        _described(folder, key),
        torch.random.fork_rng(devices=[]),
        init_empty_weights(include_buffers=False),
    ):
        network = build()
    return fill(network, share, path, key)


@contextmanager
def _described(folder: Path, key: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library raises whatever it stumbles over
        raise DataError(
            f"{key}: {folder / 'config.json'} describes no network that can be built "
            f"({in_short(error)}); name another folder, or fetch it anew"
        ) from error


def _weights_file(folder: Path, key: str) -> Path:
    for name in WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{key}: expected {' or '.join(WEIGHTS_FILES)} in {folder}, found neither")


def _read_json(path: Path, key: str) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{key}: there is no file {path}") from error
    except ValueError as error:
        raise DataError(f"{key}: {path} is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise DataError(f"{key}: {path} holds a {type(settings).__name__}, expected settings")
    return settings


def _height_and_width(size: int | Mapping[str, int]) -> list[int]:
    return _pixels(size, size) if isinstance(size, int) else _pixels(size["height"], size["width"])


def _target_size(size: int | Mapping[str, int], cropped: bool) -> list[int]:
    """Return [shorter side] or [height, width], as torchvision's resize wants it."""
    if isinstance(size, int):
        return _pixels(size) if cropped else _pixels(size, size)
    return _pixels(size["shortest_edge"]) if "shortest_edge" in size else _height_and_width(size)


def _pixels(*sides: int) -> list[int]:
    if not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"a size of {sides}")
    return list(sides)
