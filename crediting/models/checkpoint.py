"""Denoisers on disk: weights as safetensors, the architecture as JSON, nothing pickled."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file, save
from torch import nn

from crediting.errors import ArtifactError
from crediting.files import atomic_write_bytes, atomic_write_text

ARCHITECTURE = "architecture.json"


def save_denoiser(folder: Path, denoiser: nn.Module, name: str = "denoiser") -> None:
    """Write `<name>.safetensors` and `architecture.json` into a folder.

    The architecture is the class, its dense configuration and, under "widths", every number that
    a module of a pruned denoiser states of itself otherwise than the dense one would: empty where
    nothing was pruned. Further weights of the same architecture go beside it by `save_weights`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / f"{name}.safetensors", denoiser.state_dict())
    kind, config = type(denoiser).__name__, _dense_config(denoiser)
    architecture = {
        "class": kind,
        "config": config,
        "widths": _widths(denoiser, _empty(kind, config)),
    }
    save_json(folder / ARCHITECTURE, architecture)


def load_denoiser(folder: Path, name: str = "denoiser") -> nn.Module:
    """Return the denoiser, on the CPU and in training mode, with the weights called `name`.

    Raises:
        ArtifactError: a file is missing, cannot be read, or does not fit the other.
    """
    denoiser = _read_architecture(folder / ARCHITECTURE)
    path = folder / f"{name}.safetensors"
    weights = load_weights(path)
    _check_shapes(path, denoiser, weights)
    denoiser.load_state_dict(weights, strict=True, assign=True)
    return denoiser


def save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict as safetensors, at once or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # bytes, not safetensors' own writer: a full disk then is an OSError that says so
    atomic_write_bytes(path, save(tensors))


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return a state dict in memory of its own on the CPU.

    Raises:
        ArtifactError: the file is missing or is no complete safetensors file.
    """
    try:
        stored = load_file(path)
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    except safetensors.SafetensorError as error:
        raise damaged(path, f"it is not a complete safetensors file ({error})") from error
    # Stored tensors lie wherever their header ends; kernels give other last bits unless a tensor
    # starts on a 64-byte boundary, as memory from torch does.
    return {name: tensor.clone() for name, tensor in stored.items()}


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write settings as JSON, at once or not at all."""
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")


def load_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    except ValueError as error:
        raise damaged(path, f"it is not JSON ({error})") from error


def damaged(path: Path, reason: str) -> ArtifactError:
    """Return the error for a file of an artifact that cannot be used."""
    return ArtifactError(
        f"{path}: {reason}. Delete the folder {path.parent} and run the same command again."
    )


def _read_architecture(path: Path) -> nn.Module:
    """Return the denoiser that a file describes, its parameters without memory."""
    architecture = load_json(path)
    try:
        denoiser = _empty(architecture["class"], architecture["config"])
        _apply_widths(denoiser, architecture["widths"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(
            path, f"it describes no denoiser ({type(error).__name__}: {error})"
        ) from error
    return denoiser


def _dense_config(denoiser: nn.Module) -> dict[str, Any]:
    """Return what the denoiser was made from; diffusers keeps keys that it only warns of, too."""
    known = inspect.signature(type(denoiser).__init__).parameters
    return {key: value for key, value in denoiser.config.items() if key in known}


def _empty(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """Return a dense denoiser with parameters on the meta device and buffers as initialised."""
    import diffusers

    factory = getattr(diffusers, kind)
    if not (isinstance(factory, type) and issubclass(factory, diffusers.ModelMixin)):
        raise ValueError(f"diffusers.{kind} is not a model")
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        return factory(**config)


def _widths(denoiser: nn.Module, dense: nn.Module) -> dict[str, dict[str, Any]]:
    """Return {module name: {attribute: value}} for whatever differs from the dense denoiser."""
    stated = {name: _numbers(module) for name, module in dense.named_modules()}
    differences = {
        name: {
            key: value
            for key, value in _numbers(module).items()
            if value != stated[name].get(key, value)
        }
        for name, module in denoiser.named_modules()
    }
    return {name: changes for name, changes in differences.items() if changes}


def _numbers(module: nn.Module) -> dict[str, Any]:
    """Return the numbers and tuples of numbers that a module states of itself."""
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and _is_numeric(value)
    }


def _is_numeric(value: Any) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return all(type(item) in (int, float) for item in items)


def _apply_widths(denoiser: nn.Module, widths: Mapping[str, Mapping[str, Any]]) -> None:
    for name, changes in widths.items():
        module = denoiser.get_submodule(name)
        for key, value in changes.items():
            setattr(module, key, type(getattr(module, key))(value))
        for parameter, shape in _parameter_shapes(module).items():
            if getattr(module, parameter) is not None:
                resized = nn.Parameter(torch.empty(shape, device="meta"))
                setattr(module, parameter, resized)


def _parameter_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes that follow from the widths a layer states; none for other modules."""
    if isinstance(module, nn.Conv2d):
        inputs = module.in_channels // module.groups
        weight = (module.out_channels, inputs, *module.kernel_size)
        return {"weight": weight, "bias": (module.out_channels,)}
    if isinstance(module, nn.Linear):
        weight = (module.out_features, module.in_features)
        return {"weight": weight, "bias": (module.out_features,)}
    if isinstance(module, nn.GroupNorm):
        return dict.fromkeys(("weight", "bias"), (module.num_channels,))
    if isinstance(module, nn.LayerNorm):
        return dict.fromkeys(("weight", "bias"), tuple(module.normalized_shape))
    return {}


def _check_shapes(path: Path, denoiser: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in denoiser.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise damaged(
            path,
            f"{len(wrong)} of its tensors do not fit {ARCHITECTURE} beside it; the first is "
            f"{name}: expected shape {expected.get(name)}, found {found.get(name)}",
        )
