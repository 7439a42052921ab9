"""One step of a training: predict, measure, follow the gradient; recorded where it can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from crediting.loss import DenoisingLoss, Posed
from crediting.replay import Replayed, Tape

_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)

Step = Callable[[Posed, float], None]
"""Does a step with the loss times a weight; weight and shapes are those of the first step."""


class Optimizer(Protocol):
    """What a step needs of an optimizer, torch's own or accelerate's."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """Change the parameters."""


def make_step(
    predict: Callable[..., Any],
    backward: Callable[[Tensor], Any],
    clip: Callable[[], Any],
    optimizer: Optimizer,
    tape: Tape | None,
) -> Step:
    """Return what does the steps of one training.

    A function, not an object: nothing refers to itself, so all memory is free when it goes.

    Args:
        predict: called as denoisers of diffusers are.
        backward: adds the gradients of a loss.
        clip: bounds them.
        optimizer: of the same parameters.
        tape: records a step on a GPU and replays it, or None.
    """

    def work(
        weight: float,
        names: tuple[str, ...],
        noisy: Tensor,
        timesteps: Tensor,
        target: Tensor,
        *conditions: Tensor,
    ) -> None:
        optimizer.zero_grad()  # first, so that a step that failed half-way can be done again
        named = dict(zip(names, conditions, strict=True))
        prediction = predict(noisy, timesteps, **named).sample
        backward(weight * DenoisingLoss.judge(prediction, target))
        clip()
        optimizer.step()

    do: Callable[..., None] | None = None

    def step(posed: Posed, weight: float) -> None:
        nonlocal do
        if do is None:
            plain = partial(work, weight, tuple(posed.conditions))
            do = Replayed(plain, tape) if tape else plain
        do(posed.noisy, posed.timesteps, posed.target, *posed.conditions.values())

    return step


def draws_at_random(denoiser: nn.Module) -> bool:
    """Return whether a denoiser in training draws numbers: a recording might repeat them."""
    return any(isinstance(m, _RANDOM) and m.p > 0 for m in denoiser.modules())
