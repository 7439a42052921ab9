"""Stable Diffusion, fine-tuned by low-rank adapters on its frozen U-Net."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from crediting import lora
from crediting.errors import ConfigError
from crediting.interfaces import Prunable
from crediting.models.checkpoint import (
    ARCHITECTURE,
    damaged,
    load_json,
    load_weights,
    save_json,
    save_weights,
)
from crediting.models.stable_diffusion import StableDiffusion
from crediting.models.unet import check_positive
from crediting.training import Recipe

# the names of pipelines' `save_lora_weights`: with scale 1 any diffusers pipeline can load them
_DOWN, _UP = "unet.{}.lora_A.weight", "unet.{}.lora_B.weight"


class StableDiffusionLoRA(StableDiffusion):
    """Stable Diffusion of which only adapters are trained; its U-Net is shared and stays.

    Args:
        pretrained: as for `StableDiffusion`, as are lora, size, mirror and batch_size.
        lora: adapters already in the base, which stay as they are; not those to be trained.
        rank: of every adapter.
        scale: what the adapters' outputs are multiplied by; alpha / rank in other software.
        targets: how the names of the linear layers end that get an adapter.
        training: the recipe of the full model.

    Source: the paper.
    """

    only_as_published: ClassVar[bool] = False

    def __init__(
        self,
        pretrained: str,
        lora: str | None,
        size: int,
        mirror: bool,
        batch_size: int,
        rank: int,
        scale: float,
        targets: Sequence[str],
        training: Recipe,
    ) -> None:
        super().__init__(pretrained, lora, size, mirror, batch_size, training)
        check_positive(rank=rank, scale=scale)
        if not targets:
            raise ConfigError(
                "model.targets: expected endings of the names of layers, such as to_q, got none."
            )
        self.rank = rank
        self.scale = scale
        self.targets = tuple(targets)

    def untrained(self, seed: int) -> nn.Module:
        """Return the published U-Net with adapters that do nothing yet, on the CPU.

        Raises:
            ConfigError: no layer has a name like `model.targets`; else as `StableDiffusion`.
        """
        names = lora.target_names(self.base(), self.targets)
        if not names:
            raise ConfigError(
                "model.targets: expected endings of names of the U-Net's linear layers, got "
                f"{', '.join(self.targets)}, which none has; the authors take to_q, to_k, to_v, "
                "to_out.0."
            )
        return self._adapted(dict.fromkeys(names, self.rank), self.scale, seed)

    def reinitialise(self, denoiser: nn.Module, seed: int) -> nn.Module:
        """Return the same with fresh adapters of the same ranks, the base shared."""
        fresh = lora.clone(denoiser).train()
        lora.reinitialise(fresh, seed)
        return fresh

    def prunable(self, denoiser: nn.Module) -> Prunable:
        """Refuse: what is trained has no channels of its own.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "pruning: expected a method for adapters, because model=sd_lora trains nothing else, "
            "and the channels of a shared base are not pruned; choose pruning=lora_ranks or "
            "pruning=none."
        )

    def save(self, folder: Path, denoiser: nn.Module, name: str) -> None:
        """Write the adapters as `<name>.safetensors`, their ranks as `architecture.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        factors = lora.factors(denoiser)
        tensors: dict[str, torch.Tensor] = {}
        for module, (down, up) in factors.items():
            tensors |= {_DOWN.format(module): down, _UP.format(module): up}
        save_weights(folder / f"{name}.safetensors", tensors)
        architecture = {
            "base": {key: asset.digest() for key, asset in self.assets().items()},
            "scale": self.scale,
            "targets": self.targets,
            "ranks": lora.ranks(denoiser),
        }
        save_json(folder / ARCHITECTURE, architecture)

    def load(self, folder: Path, name: str) -> nn.Module:
        """Return what `save` wrote on the published U-Net, on the CPU.

        Raises:
            ArtifactError: a file is missing, cannot be read, or does not fit the other.
        """
        architecture = load_json(folder / ARCHITECTURE)
        path = folder / f"{name}.safetensors"
        weights = load_weights(path)
        try:
            denoiser = self._adapted(architecture["ranks"], architecture["scale"], seed=0)
            self._fill(denoiser, weights)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise damaged(
                path, f"it does not fit {ARCHITECTURE} beside it ({type(error).__name__}: {error})"
            ) from error
        return denoiser

    def _adapted(self, ranks: dict[str, int], scale: float, seed: int) -> nn.Module:
        denoiser = lora.clone(self.base()).train()
        lora.attach(denoiser, ranks, scale, dropout=0.0, seed=seed)
        return denoiser

    def _fill(self, denoiser: nn.Module, weights: dict[str, torch.Tensor]) -> None:
        factors: Any = lora.factors(denoiser)
        with torch.no_grad():
            for module, (down, up) in factors.items():
                down.copy_(_same(weights[_DOWN.format(module)], down))
                up.copy_(_same(weights[_UP.format(module)], up))
        if len(weights) != 2 * len(factors):
            raise KeyError(f"{len(weights) - 2 * len(factors)} tensors belong to no adapter")


def _same(stored: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    if stored.shape != expected.shape:
        raise RuntimeError(f"expected {tuple(expected.shape)}, found {tuple(stored.shape)}")
    return stored
