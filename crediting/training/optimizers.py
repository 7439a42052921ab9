"""What recipes step with: optimizers, the rates of their groups of parameters, averages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from crediting.errors import ConfigError
from crediting.training.recipe import Recipe

if TYPE_CHECKING:
    from diffusers.training_utils import EMAModel

_FACTOR = "rate_factor"


def make_optimizer(
    parameters: Mapping[str, Tensor],
    recipe: Recipe,
    rate_factors: Mapping[str, float],
    recorded: bool = False,
) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe for parameters by name; rate factors as in `Training`.

    One that is recorded reads its rates from memory, where `set_rate` writes them.
    """
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in parameters.items():
        factor = next((f for key, f in rate_factors.items() if key in name), 1.0)
        groups.setdefault(factor, []).append(parameter)
    optimizer = find_optimizer(recipe)(
        [{"params": members, _FACTOR: factor} for factor, members in groups.items()],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    if recorded:
        device = next(iter(parameters.values())).device
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(recipe.learning_rate, device=device)
            group["capturable"] = device.type == "cuda"
    return optimizer


def find_optimizer(recipe: Recipe) -> Callable[..., torch.optim.Optimizer]:
    """Return the class of a recipe's optimizer, or what makes one like it.

    Raises:
        ConfigError: it is not installed.
    """
    if recipe.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise ConfigError(
                "optimizer: adamw8bit needs the package bitsandbytes and a CUDA device "
                f"({error}); install it, or choose adamw, which takes more memory"
            ) from error
        return AdamW8bit
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return lambda groups, **settings: kind(groups, fused=True, **settings)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters its share of a step's learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate * group[_FACTOR])
        else:
            group["lr"] = rate * group[_FACTOR]


def make_average(parameters: Iterable[Tensor], recipe: Recipe) -> EMAModel:
    """Return the running average of parameters that a recipe asks for, which starts as they are."""
    from diffusers.training_utils import EMAModel

    return EMAModel(parameters, decay=recipe.ema_decay, foreach=True)
