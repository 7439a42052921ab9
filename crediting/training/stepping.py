"""One step of a training: predict, measure, follow the gradient; recorded where it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from crediting.halving import Portion
from crediting.training.cuda_graphs import Replayed, Tape
from crediting.training.loss import DenoisingLoss, Posed

_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)

Step = Callable[[Posed, float], None]
"""Does a step with the loss times a weight; weight and shapes are those of the first step."""


def make_step(
    predict: Callable[..., Any],
    backward: Callable[[Tensor], Any],
    clip: Callable[[], Any],
    optimizer: Any,
    tape: Tape | None,
    portion: Portion | None,
    stacked: int = 1,
) -> Step:
    """Return what does the steps of one training.

    Where memory does not suffice for a batch, gradients of its parts are added up: the same step
    but for rounding and dropout. A function, not an object: nothing refers to itself, so all memory
    is free when it goes.

    Args:
        predict: called as denoisers of diffusers are.
        backward: adds the gradients of a loss.
        clip: bounds them.
        optimizer: of the same parameters, torch's own or accelerate's.
        tape: records a step on a GPU and replays it, or None.
        portion: how many examples, of each training, are worked on at once, or None: always all.
        stacked: how many trainings these are; their batches follow each other.
    """

    def add_gradients(
        weight: float, names: tuple[str, ...], tensors: Sequence[Tensor], at_once: int
    ) -> None:
        optimizer.zero_grad()  # first, so that a step that failed half-way can be done again
        rows = [tensor.unflatten(0, (stacked, -1)) for tensor in tensors]
        size = rows[0].shape[1]
        for first in range(0, size, at_once):
            part = [row[:, first : first + at_once].flatten(0, 1) for row in rows]
            noisy, timesteps, target, *conditions = part
            named = dict(zip(names, conditions, strict=True))
            prediction = predict(noisy, timesteps, **named).sample
            share = len(noisy) / stacked / size
            backward(weight * share * DenoisingLoss.judge(prediction, target))

    def work(weight: float, names: tuple[str, ...], *tensors: Tensor) -> None:
        size = len(tensors[0]) // stacked
        add = partial(add_gradients, weight, names, tensors)
        portion.do(add, size) if portion else add(size)
        clip()
        optimizer.step()
        optimizer.zero_grad()  # a recording, and the average, would find them in the way

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
