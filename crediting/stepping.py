"""One step of a training: predict, measure, follow the gradient; recorded where it can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from crediting.loss import DenoisingLoss, Posed
from crediting.replay import Replayed, Tape

_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class Optimizer(Protocol):
    """What a step needs of an optimizer, torch's own or accelerate's."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """Change the parameters."""


class Step:
    """Does the steps of one training.

    Args:
        predict: called as denoisers of diffusers are.
        backward: adds the gradients of a loss.
        clip: bounds them.
        optimizer: of the same parameters.
        tape: records a step on a GPU and replays it, or None.
    """

    def __init__(
        self,
        predict: Callable[..., Any],
        backward: Callable[[Tensor], Any],
        clip: Callable[[], Any],
        optimizer: Optimizer,
        tape: Tape | None,
    ) -> None:
        self._predict = predict
        self._backward = backward
        self._clip = clip
        self._optimizer = optimizer
        self._tape = tape
        self._do: Callable[..., None] | None = None

    def __call__(self, posed: Posed, weight: float) -> None:
        """Do a step with the loss times a weight; weight and shapes are those of the first step."""
        if self._do is None:
            work = partial(self._work, weight, tuple(posed.conditions))
            self._do = Replayed(work, self._tape) if self._tape else work
        self._do(posed.noisy, posed.timesteps, posed.target, *posed.conditions.values())

    def _work(
        self,
        weight: float,
        names: tuple[str, ...],
        noisy: Tensor,
        timesteps: Tensor,
        target: Tensor,
        *conditions: Tensor,
    ) -> None:
        self._optimizer.zero_grad()  # first, so that a step that failed half-way can be done again
        named = dict(zip(names, conditions, strict=True))
        prediction = self._predict(noisy, timesteps, **named).sample
        self._backward(weight * DenoisingLoss.judge(prediction, target))
        self._clip()
        self._optimizer.step()


def draws_at_random(denoiser: nn.Module) -> bool:
    """Return whether a denoiser in training draws numbers: a recording would repeat them."""
    return any(isinstance(m, _RANDOM) and m.p > 0 for m in denoiser.modules())
