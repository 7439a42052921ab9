"""How much memory training and sampling take, counted before any of it is taken.

A copy of the denoiser without numbers, only shapes, does one step, and every block of memory that
comes and goes on the way is counted. Not counted: the data, what a device takes for itself, and
what the parts of one operation need. GB are 1e9 bytes.
"""

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crediting.training.checkpoint import trainable
from crediting.training.recipe import Recipe
from crediting.training.trainer import gradient_checkpointing

UNFORESEEABLE = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
"""What a denoiser raises whose computation depends on the numbers themselves."""

_IN_FULL_ON_CUDA = (nn.GroupNorm, nn.LayerNorm)
_SMALLEST_IN_8_BITS, _BLOCK = 4096, 256


class Arithmetic(NamedTuple):
    """How a denoiser computes: kind of device, precision as in `runtime`, what is kept."""

    device: str
    precision: str
    gradient_checkpointing: bool


class TrainingMemory(NamedTuple):
    """Bytes that training takes: what stays, and what one step adds at its height.

    `weights`, `moments` of the optimizer and `average` (EMA) stay; `step` is the most that
    `activations`, the `gradients` and intermediate results take at one time, less than their sum
    because activations go as gradients come.
    """

    weights: int
    moments: int
    average: int
    gradients: int
    activations: int
    step: int

    @property
    def lasting(self) -> int:
        """What no smaller batch makes smaller."""
        return self.weights + self.moments + self.average

    @property
    def total(self) -> int:
        """The peak."""
        return self.lasting + self.step


def of_training(
    denoiser: nn.Module, inputs: Mapping[str, Tensor], recipe: Recipe, how: Arithmetic
) -> TrainingMemory:
    """Return what training the parameters that require gradients takes.

    Args:
        denoiser: on any device, also `meta`; it stays as it is.
        inputs: of a call for one example, as `DiffusionModel.example_inputs` returns them.
        recipe: gives the size of the batch and the optimizer.
        how: it is done.

    Raises:
        ConfigError: it has no gradient checkpointing.
        UNFORESEEABLE: its computation depends on the numbers.
    """
    learned = trainable(denoiser).values()
    size = _bytes(learned)
    with _shapes_only(denoiser, how) as twin:
        batch = _repeated(inputs, recipe.batch_size)
        with gradient_checkpointing(twin, how.gradient_checkpointing), _Alive(twin) as alive:
            with _autocast(how):
                predicted = twin.train()(**batch).sample.float()
            loss = F.mse_loss(predicted, torch.empty_like(predicted))
            activations = alive.now
            loss.backward()
    return TrainingMemory(
        weights=_bytes([*denoiser.parameters(), *denoiser.buffers()]),
        moments=sum(_moments(p, recipe.optimizer) for p in learned),
        average=size,
        gradients=size,
        activations=activations,
        step=alive.peak,
    )


def of_sampling(
    denoiser: nn.Module, inputs: Mapping[str, Tensor], batch_size: int, how: Arithmetic
) -> int:
    """Return the bytes that one call of a denoiser takes at its height, its weights included.

    The arguments are those of `of_training`; `batch_size` counts images, or with guidance both of
    the predictions for each. Decoding latents is not counted.
    """
    with _shapes_only(denoiser, how) as twin:
        batch = _repeated(inputs, batch_size)
        with _Alive(twin) as alive, torch.no_grad(), _autocast(how):
            twin.eval()(**batch).sample.float()
    return _bytes([*denoiser.parameters(), *denoiser.buffers()]) + alive.peak


def told(count: int) -> str:
    """Say so many bytes in GB, or MB where that would be little."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


class _Alive(TorchDispatchMode):
    """Counts the bytes of all storages that come to be within it, but for those of a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        own = (*module.parameters(), *module.buffers())
        self._known = weakref.WeakSet(tensor.untyped_storage() for tensor in own)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do what is asked and look at what comes out."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._meet(leaf.untyped_storage())
        return result

    def _meet(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._part, storage.nbytes()).atexit = False

    def _part(self, count: int) -> None:
        self.now -= count


@contextmanager
def _shapes_only(denoiser: nn.Module, how: Arithmetic) -> Iterator[Any]:
    """Yield a copy whose parameters are shapes; what is computed within is shapes, too."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        memo: dict[int, Any] = {id(p): _shape(p) for p in denoiser.parameters()}
        memo |= {id(b): torch.empty(b.shape, dtype=b.dtype) for b in denoiser.buffers()}
        twin = copy.deepcopy(denoiser, memo)
        if how.device == "cuda" and how.precision != "fp32":
            for module in twin.modules():
                if isinstance(module, _IN_FULL_ON_CUDA):
                    module.register_forward_pre_hook(_in_full)
        yield twin


def _shape(parameter: nn.Parameter) -> nn.Parameter:
    shape = torch.empty(parameter.shape, dtype=parameter.dtype)
    return nn.Parameter(shape, requires_grad=parameter.requires_grad)


def _in_full(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Do what autocast does to the arguments of a normalisation on CUDA, and not on the CPU."""
    return (arguments[0].float(), *arguments[1:])


def _autocast(how: Arithmetic) -> torch.autocast:
    # both kinds of half precision take two bytes
    return torch.autocast("cpu", torch.bfloat16, enabled=how.precision != "fp32")


def _repeated(inputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    return {
        name: torch.zeros((count, *tensor.shape[1:]), dtype=tensor.dtype)
        for name, tensor in inputs.items()
    }


def _moments(parameter: nn.Parameter, optimizer: str) -> int:
    """Return the bytes of both moments, and of their scales in an optimizer of 8 bits."""
    count = parameter.numel()
    if optimizer == "adamw8bit" and count >= _SMALLEST_IN_8_BITS:
        return 2 * (count + 4 * -(-count // _BLOCK))
    return 2 * 4 * count


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
