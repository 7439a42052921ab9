"""Several trainings at once: their parameters are stacked and stepped together on one device.

Small networks leave a device idle, or spend their time between its operations; a stack of them
does the same operations on larger tensors. What is frozen, such as the network under LoRA adapters,
is shared and computed for all of a stack as one batch.
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from crediting.randomness import Stream
from crediting.training.batches import draw_batches, membership
from crediting.training.checkpoint import trainable
from crediting.training.optimizers import make_average, make_optimizer, set_rate
from crediting.training.recipe import Training
from crediting.training.stepping import make_step
from crediting.training.trainer import Trainer, seeded_dropout


def can_stack(trainer: Trainer, trainings: Sequence[Training]) -> bool:
    """Return whether trainings differ in their examples and weights alone, and can be one.

    Their batches must be equally large. Eight-bit optimizers share scales among neighbouring
    numbers, which stacked would be those of another model; running means of batches, which a
    network keeps while it trains, would be those of all.
    """
    first = trainings[0]
    alike = len({kind_of(training) for training in trainings}) == 1
    stackable = alike and first.recipe.optimizer != "adamw8bit"
    return trainer.can_stack and stackable and not _keeps_means(first.denoiser)


def _keeps_means(denoiser: nn.Module) -> bool:
    return any(isinstance(m, _NormBase) and m.track_running_stats for m in denoiser.modules())


def kind_of(training: Training) -> Hashable:
    """Return what trainings have in common if they differ in their examples and weights alone."""
    rates = tuple(sorted(training.rate_factors.items()))
    batch, shape = _batch_size(training), _shape(training.denoiser)
    return training.recipe, training.ascend, rates, batch, shape


def train_stacked(
    trainer: Trainer,
    trainings: Sequence[Training],
    stream: Stream,
    on_step: Callable[[int], None] = lambda step: None,
) -> list[dict[str, Tensor]]:
    """Do trainings that `can_stack` together and return the averaged parameters of each by name.

    Batches, timesteps and noise are those that each would have met alone, so the results differ by
    rounding only; dropout is the same for all of a stack, whoever they are, but other than alone.
    The denoisers themselves keep their weights. `on_step` is told the number of finished steps.
    """
    first, recipe = trainings[0], trainings[0].recipe
    trainer.check(recipe)
    stack = _Stack([training.denoiser for training in trainings], trainer)
    tape = trainer.tape(first.denoiser, recipe)
    optimizer = make_optimizer(stack.leaves, recipe, first.rate_factors, bool(tape))
    leaves = list(stack.leaves.values())
    average = make_average(leaves, recipe)
    members = membership([t.examples for t in trainings], len(trainer.loss.examples))
    n = len(trainings)
    size, weight = _batch_size(first), -n if first.ascend else n
    clip = partial(_clip, leaves, recipe.gradient_clip)
    do = make_step(stack, Tensor.backward, clip, optimizer, tape, trainer.portion(n), n)
    with seeded_dropout(trainer.device) as seed_dropout:
        for step in range(recipe.steps):
            on_step(step)
            seed_dropout(stream.at(step, "dropout").seed)
            set_rate(optimizer, recipe.rate(step))
            timesteps = trainer.loss.n_timesteps
            batches = draw_batches(recipe, members, size, stream.at(step), timesteps)
            do(trainer.loss.pose(*batches, stream.at(step)), weight)
            average.step(leaves)
    on_step(recipe.steps)
    averages = zip(*(shadow.unbind() for shadow in average.shadow_params), strict=True)
    return [dict(zip(stack.leaves, own, strict=True)) for own in averages]


class _Stack:
    """Denoisers of one shape as a single one, which is given all their batches in a row."""

    def __init__(self, denoisers: Sequence[nn.Module], trainer: Trainer) -> None:
        self._template = _template(denoisers[0])
        self._size = len(denoisers)
        self._predict = trainer.compiled(_predict)
        self._autocast = trainer.autocast
        each = [trainable(denoiser) for denoiser in denoisers]
        self.leaves = {
            name: torch.stack([own[name].detach() for own in each]).requires_grad_()
            for name in each[0]
        }

    def __call__(self, noisy: Tensor, timesteps: Tensor, **conditions: Tensor) -> Any:
        """Return what diffusers' denoisers return, for a row of equally large batches."""
        inputs = [
            one.view(self._size, -1, *one.shape[1:])
            for one in (noisy, timesteps, *conditions.values())
        ]
        with self._autocast(), _batchable_attention(noisy.device):
            predictions = self._predict(self._template, self.leaves, tuple(conditions), inputs)
        return SimpleNamespace(sample=predictions.flatten(0, 1))


def _template(denoiser: nn.Module) -> nn.Module:
    """Return a denoiser in training mode, sharing the tensors of this one, that vmap can call."""
    tensors = (*denoiser.parameters(), *denoiser.buffers())
    template = copy.deepcopy(denoiser, {id(tensor): tensor for tensor in tensors}).train()
    on_cpu = next(template.parameters()).device.type == "cpu"
    for module in template.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(_as_its_weights)
        if isinstance(module, nn.GroupNorm) and on_cpu:
            module.register_forward_pre_hook(_in_order)
    return template


def _as_its_weights(convolution: nn.Conv2d, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return what a convolution is given in the precision of its weights.

    Under vmap conv2d insists on that before autocast casts all of it: on CUDA a convolution with
    frozen weights, as under adapters, hands on half precision.
    """
    return inputs[0].to(convolution.weight.dtype)


def _in_order(norm: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Bring points in order in memory, without which torch before 2.14 refuses to normalise."""
    return inputs[0].contiguous()


def _predict(
    template: nn.Module,
    leaves: dict[str, Tensor],
    conditions: tuple[str, ...],
    inputs: Sequence[Tensor],
) -> Tensor:
    """Return the predictions (K, B, ...) of K denoisers for a batch each.

    Args:
        template: any of the denoisers; what is not among the leaves is taken from it.
        leaves: stacked parameters by name, (K, ...).
        conditions: names of what denoisers are called with beside points and timesteps.
        inputs: points, timesteps and conditions, (K, B, ...).
    """

    def one(leaves: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        named = dict(zip(conditions, inputs[2:], strict=True))
        return functional_call(template, leaves, inputs[:2], named).sample

    # the same dropout for all: it must not depend on who else is in the stack
    return vmap(one, randomness="same")(leaves, *inputs)


def _batchable_attention(device: torch.device) -> AbstractContextManager[None]:
    """Return a context with the kinds of fused attention that can be stacked.

    The CPU's would be done one by one. Two of CUDA's do not keep under vmap what their gradients
    take, for torch does not tell them there that anything is going to need some. The third is not
    used where runtime.deterministic has turned it off.
    """
    usable = device.type != "cpu" and torch.backends.cuda.flash_sdp_enabled()
    fused = [SDPBackend.FLASH_ATTENTION] if usable else []
    return sdpa_kernel([*fused, SDPBackend.MATH])


def _clip(leaves: Sequence[Tensor], largest: float) -> None:
    """Scale the gradients of each denoiser so that their norm is at most `largest`."""
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    squares = [gradient.square().reshape(len(gradient), -1).sum(1) for gradient in gradients]
    factors = (largest / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def _batch_size(training: Training) -> int:
    return min(len(training.examples), training.recipe.batch_size)


def _shape(denoiser: nn.Module) -> tuple[tuple[str, torch.Size], ...]:
    return tuple((name, p.shape) for name, p in trainable(denoiser).items())
