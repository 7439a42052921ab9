"""Gradients of a denoiser's output, one per example, by vectorised differentiation."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from crediting.randomness import Stream
from crediting.training.checkpoint import trainable
from crediting.training.examples import Examples

_FLOAT = 4  # bytes


def _loss(prediction: Tensor, target: Tensor, signs: Tensor) -> Tensor:
    return F.mse_loss(prediction, target)


def _square_norm(prediction: Tensor, target: Tensor, signs: Tensor) -> Tensor:
    return prediction.square().mean()


def _probe(prediction: Tensor, target: Tensor, signs: Tensor) -> Tensor:
    return (prediction * signs).mean() * math.sqrt(prediction[0].numel())


OUTPUTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "loss": _loss,
    "square_norm": _square_norm,
    "probe": _probe,
}
"""What is differentiated, a mean over timesteps of something about the prediction e of a target.

    loss: mean squared error of e. square_norm: mean square of e (Zheng et al. 2024, D-TRAK).
    probe: s^T e / sqrt(m), with m random signs s; its gradients J^T s / sqrt(m) stand for the
    whole Jacobian J (m, D), as the expectation of s s^T is the identity (Hutchinson 1990).
"""


class ExampleGradients:
    """Gradients with respect to the trainable parameters, averaged over timesteps.

    An example's noise and signs depend on its content and the timestep: not on its place in the
    dataset, nor on what it is computed together with. Posteriors stand for their means.

    Args:
        denoiser: in evaluation mode, on the device of the examples.
        examples: the examples.
        noise_scheduler: the forward process.
        output: one of `OUTPUTS`.
        timesteps: over which gradients are averaged, (k,), or each example's own, (N, k).
        stream: of the noise and signs.
        memory: bytes to work in, as far as one example at one timestep fits; it does not change
            the gradients but for rounding.

    Source: Park et al. 2023 (TRAK); the paper and the authors' code for ArtBench.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        examples: Examples,
        noise_scheduler: Any,
        output: str,
        timesteps: Sequence[int] | Tensor,
        stream: Stream,
        memory: int,
    ) -> None:
        self._denoiser = denoiser
        self._examples = examples
        self._scheduler = noise_scheduler
        self._output = OUTPUTS[output]
        each = torch.as_tensor(timesteps, device=examples.device)
        self._timesteps = each.expand(len(examples), -1)
        self._stream = stream
        self._memory = memory
        self._parameters = {name: p.detach() for name, p in trainable(denoiser).items()}

    @property
    def size(self) -> int:
        """Entries of one gradient."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    def of(self, ids: Tensor) -> Tensor:
        """Return the gradients of examples, given by their numbers, float32 (len(ids), size)."""
        examples_at_once, timesteps_at_once = self._at_once()
        gradients = torch.zeros(len(ids), self.size, device=ids.device)
        for rows, own in zip(
            gradients.split(examples_at_once), ids.split(examples_at_once), strict=True
        ):
            for timesteps in self._timesteps[own].split(timesteps_at_once, dim=1):
                share = timesteps.shape[1] / self._timesteps.shape[1]
                for columns, gradient in self._by_parameter(own, timesteps):
                    rows[:, columns].add_(gradient, alpha=share)
        return gradients

    def _by_parameter(self, ids: Tensor, timesteps: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield, parameter by parameter, its columns and its gradients, (len(ids), entries)."""
        each = (None, 0, 0, 0, 0, 0)
        # the fused kernels of attention have no rule for vectorisation
        with sdpa_kernel(SDPBackend.MATH):
            found = vmap(grad(self._value), in_dims=each)(
                self._parameters, *self._inputs(ids, timesteps)
            )
        start = 0
        for gradient in found.values():
            flat = gradient.flatten(1).float()
            yield slice(start, start + flat.shape[1]), flat
            start += flat.shape[1]

    def _value(
        self,
        parameters: Mapping[str, Tensor],
        noisy: Tensor,
        timesteps: Tensor,
        targets: Tensor,
        signs: Tensor,
        conditions: Mapping[str, Tensor],
    ) -> Tensor:
        """Return the output for one example at t timesteps, a scalar; all but conditions are t."""
        repeated = {k: v.expand(len(noisy), *v.shape) for k, v in conditions.items()}
        called = functional_call(self._denoiser, dict(parameters), (noisy, timesteps), repeated)
        return self._output(called.sample.float(), targets, signs)

    def _inputs(self, ids: Tensor, timesteps: Tensor) -> tuple[Any, ...]:
        """Return what `_value` is called with, of timesteps (t,) or (b, t): all (b, t, ...)."""
        clean = self._examples.latents[ids]
        timesteps = timesteps.expand(len(ids), -1)
        keys, columns = _content(clean), []
        for own in timesteps.T:
            noise, signs = self._drawn(keys, own, clean)
            noisy = self._scheduler.add_noise(clean, noise, own)
            columns.append((noisy, self._target(clean, noise, own), signs))
        noisy, targets, signs = (torch.stack(part, dim=1) for part in zip(*columns, strict=True))
        return noisy, timesteps, targets, signs, self._examples.conditions(ids)

    def _drawn(self, keys: Tensor, timesteps: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise and the signs of points (b, ...) at timesteps (b,)."""
        noise, signs = torch.empty_like(clean), torch.empty_like(clean)
        shape = tuple(clean.shape[1:])
        for number in timesteps.unique().tolist():
            stream, at_it = self._stream.at(number), timesteps == number
            noise[at_it] = stream.at("noise").normal(keys[at_it], shape)
            words = stream.at("signs").words(keys[at_it], math.prod(shape))
            signs[at_it] = 1.0 - 2.0 * (words & 1).view(-1, *shape)
        return noise, signs

    def _target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        if self._scheduler.config.prediction_type == "v_prediction":
            return self._scheduler.get_velocity(clean, noise, timesteps)
        return noise

    def _at_once(self) -> tuple[int, int]:
        """Return how many examples, and timesteps of each, are differentiated at once."""
        row = 2 * _FLOAT * self.size
        activations = 2 * self._activations()
        most = self._timesteps.shape[1]
        timesteps = min(max((self._memory - row) // activations, 1), most)
        return max(self._memory // (row + timesteps * activations), 1), timesteps

    def _activations(self) -> int:
        """Return the bytes that one example at one timestep keeps for differentiation."""
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        first = torch.zeros(1, dtype=torch.int64, device=self._examples.device)
        inputs = self._inputs(first, self._timesteps[:1, :1])
        noisy, timesteps, targets, signs, conditions = inputs
        own = {name: condition[0] for name, condition in conditions.items()}
        parameters = trainable(self._denoiser)
        with (
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            self._value(parameters, noisy[0], timesteps[0], targets[0], signs[0], own)
        for parameter in self._denoiser.parameters():
            saved.pop(parameter.untyped_storage().data_ptr(), None)
        return max(sum(saved.values()), 1)


def _content(points: Tensor) -> Tensor:
    """Return a hash of each point's bits, int64 (n,): what its randomness is indexed by."""
    bits = points.float().contiguous().flatten(1).view(torch.int32).long()
    first = torch.zeros(1, dtype=torch.int64, device=points.device)
    return (bits * (Stream("content").words(first, bits.shape[1]) | 1)).sum(dim=1)
