"""Published networks in folders of diffusers: read and checked, and the frozen ones read once.

A folder is what `save_pretrained` writes, of a whole pipeline or of the network alone. Weights
come from safetensors, or from .bin files through torch's reader of weights only.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crediting.assets.messages import in_short
from crediting.errors import ConfigError, DataError

_AGAIN = "delete the folder and fetch it again, or name another one"
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def files_of(*parts: str) -> tuple[str, ...]:
    """Return which files of a pipeline belong to some of its networks; "" is the folder itself."""
    files = ("config.json", *(f"{stem}.{end}" for stem in _STEMS for end in ("safetensors", "bin")))
    return tuple(f"{part}/{file}".removeprefix("/") for part in parts for file in files)


def find_part(root: Path, names: Sequence[str], key: str, file: str = "config.json") -> Path:
    """Return the first of the named folders inside `root` that holds a file; "" is `root` itself.

    Raises:
        DataError: none of them does.
    """
    for name in names:
        if (root / name / file).is_file():
            return root / name
    wanted = " or ".join(str(Path(name) / file) for name in names)
    raise DataError(
        f"{key}: expected a folder in the format of diffusers with {wanted}, and {root} has none; "
        "name a folder that `save_pretrained` wrote, or a repository of that layout on the hub."
    )


def read_config(path: Path, key: str, *needed: str) -> dict[str, Any]:
    """Return the settings in a JSON file.

    Raises:
        DataError: it is no JSON object, or lacks a setting that is needed.
    """
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{key}: {path} is not JSON ({error}); {_AGAIN}.") from error
    if not isinstance(config, dict):
        raise DataError(f"{key}: {path} holds no settings but {config!r}; {_AGAIN}.")
    if lacking := [name for name in needed if config.get(name) is None]:
        raise DataError(f"{key}: {path} says nothing of {', '.join(lacking)}; {_AGAIN}.")
    return config


def read_network(folder: Path, kinds: Mapping[str, Any], key: str) -> nn.Module:
    """Return a network, float32 on the CPU and in memory of its own, that requires gradients.

    Args:
        folder: holds its config.json and weights.
        kinds: the classes that it may be of, by the name that its config states.
        key: of the config, for messages.

    Raises:
        ConfigError: it is of another class.
        DataError: a file is missing, cannot be read, or does not fit the config.
    """
    config = read_config(folder / "config.json", key)
    name = config.get("_class_name") or ", ".join(map(str, config.get("architectures") or ["none"]))
    if name not in kinds:
        raise ConfigError(
            f"{key}: expected a network of class {' or '.join(kinds)}, got {name} in {folder}."
        )
    with blaming(folder, key), torch.random.fork_rng(devices=[]):
        network, info = kinds[name].from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True
        )
        absent = sorted(info["missing_keys"]) + list(info["mismatched_keys"])
        if absent:
            raise ValueError(f"{len(absent)} tensors are not there, the first is {absent[0]}")
    network = network.float().requires_grad_(True)
    # Loaded tensors may be parts of a file in memory; kernels give other last bits unless a
    # tensor starts on a 64-byte boundary, as memory from torch does.
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()
    return network


def frozen(read: Callable[..., nn.Module], device: torch.device, *folders: Path) -> nn.Module:
    """Return `read(*folders)` for use only, on a device; done once per process.

    Whoever gets it must not change it.
    """
    # tensors say of their device which one it is: of `cuda` cuda:0, say
    return _frozen(read, torch.empty(0, device=device).device, *folders)


@functools.cache
def _frozen(read: Callable[..., nn.Module], device: torch.device, *folders: Path) -> nn.Module:
    return read(*folders).requires_grad_(False).eval().to(device)


def forget() -> None:
    """Free the memory of all frozen networks that nobody else holds."""
    _frozen.cache_clear()


def check_agreement(key: str, given: Mapping[str, Any], published: Mapping[str, Any]) -> None:
    """Raise ConfigError unless every setting that is given is the published one."""
    for name, value in given.items():
        found = published.get(name)
        if _plain(value) != _plain(found):
            raise ConfigError(
                f"{key}.{name}: expected {found!r} as in model.pretrained, got {value!r}; "
                f"set {key}=null to take all of it from there."
            )


def _plain(value: Any) -> Any:
    """Return tuples, and what else a config may hold for them, as lists."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    return [_plain(item) for item in value]


@contextmanager
def blaming(path: Path, key: str) -> Iterator[None]:
    """Use as a context in which nothing but a library works: its errors are the file's."""
    try:
        yield
    except Exception as error:  # libraries raise whatever they stumble over
        raise DataError(f"{key}: {path} cannot be read ({in_short(error)}); {_AGAIN}.") from error
