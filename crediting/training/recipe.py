"""How a denoiser is trained: the settings of one training, and the learning rate they imply."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from crediting.errors import ConfigError

if TYPE_CHECKING:
    import torch

_CHOICES = {
    "optimizer": ("adam", "adamw", "adamw8bit"),
    "schedule": ("constant", "cosine"),
    "timesteps": ("antithetic", "uniform"),
}
_NUMBERS: tuple[tuple[tuple[str, ...], str, Callable[[float], bool]], ...] = (
    (("batch_size", "learning_rate", "gradient_clip"), "a positive number", lambda n: n > 0),
    (("steps", "weight_decay"), "0 or more", lambda n: n >= 0),
    (("learning_rate",), "a finite number", math.isfinite),
    (("warmup", "ema_decay"), "a number in [0, 1)", lambda n: 0 <= n < 1),
)
"""Keys, what is expected of them, and whether a number is so."""


@dataclass(frozen=True)
class Recipe:
    """How a denoiser is trained; weight decay is constant over the steps.

    The learning rate rises linearly from 0 over the share `warmup` of the steps, then stays
    (`constant`) or falls to 0 along half a cosine that ends with the training (`cosine`): a
    schedule fits its training, however short. `timesteps` of a batch are
    drawn independently (`uniform`), or in pairs t and T - 1 - t (`antithetic`). `ema_decay` is
    the largest decay of the averaged weights; after s earlier steps it is at most
    (1 + s) / (10 + s), and 0 at the first, so that a short training is not ruled by its start.
    With 0 the averaged weights are the last ones. `adamw8bit` needs the package bitsandbytes.
    """

    steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    warmup: float
    gradient_clip: float
    ema_decay: float
    timesteps: str
    horizontal_flip: bool

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigError(
                    f"{key}: expected one of {', '.join(choices)}, got {getattr(self, key)!r}"
                )
        for keys, expected, is_so in _NUMBERS:
            for key in keys:
                if not is_so(getattr(self, key)):
                    raise ConfigError(f"{key}: expected {expected}, got {getattr(self, key)}")

    @property
    def warmup_steps(self) -> int:
        """Over how many steps the learning rate rises."""
        return round(self.warmup * self.steps)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Training:
    """A training that is yet to be done: trainings of one kind may be done together.

    Only parameters that require gradients are trained, in place, on the examples, int64 (k,) and
    not empty. `ascend` increases the loss instead; `rate_factors` multiplies the learning rate of
    parameters whose name contains a key. `finish` is given the denoiser with its averaged weights.
    """

    denoiser: torch.nn.Module
    recipe: Recipe
    examples: torch.Tensor
    ascend: bool = False
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    finish: Callable[[torch.nn.Module], None] | None = None


class BatchGradient(NamedTuple):
    """What one batch of examples says of a denoiser, not trained on it.

    `loss` is its mean squared error, over all examples and the `entries` that each prediction has;
    `by_name` holds the gradient of it by the name of the trainable parameter.
    """

    examples: int
    loss: float
    entries: int
    by_name: dict[str, torch.Tensor]
