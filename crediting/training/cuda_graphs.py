"""Work on a GPU that is always the same, recorded as a CUDA graph and replayed.

A small operation takes a GPU less time than a CPU needs to launch it. A recording holds all
operations of some work and is launched as one. It repeats what was done to the same memory, so it
serves work whose tensors keep their shapes and places, and which never looks at a number on the
CPU.
"""

import copy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from crediting.errors import is_out_of_memory
from crediting.progress import say
from crediting.training.compiling import Compiler

WARM_UP = 3
"""Calls before the recording: what happens but once, such as compiling, must be over."""

Result = TypeVar("Result")


class Tape(Protocol):
    """What records work."""

    def run(self, work: Callable[[], Result]) -> Result:
        """Do work that is going to be recorded."""

    def record(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Return what does the work again, on the same memory, and returns the same tensors."""


class CudaTape:
    """Records on the GPU in use; what runs and what is recorded share a stream of their own.

    After a recording has failed none is tried again, unless it was for want of memory: torch may
    not have tidied up after it.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._failed = False
        self._told = False

    def run(self, work: Callable[[], Result]) -> Result:
        """Do work on the stream, after all that was asked for before, and before what will be."""
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self._stream):
                return work()
        finally:  # also if it fails: its memory is used again for what comes next
            torch.cuda.current_stream().wait_stream(self._stream)

    def record(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Record work; what cannot be recorded is done operation by operation, which is said."""
        if self._failed:
            return work
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                result = work()
        except RuntimeError as error:
            torch.cuda.set_stream(before)
            self._explain(error)
            return work

        def play() -> Result:
            graph.replay()
            return result

        return play

    def _explain(self, error: RuntimeError) -> None:
        full = is_out_of_memory(error)  # without a recording, less is needed
        if not self._told:
            going_on = "the work goes on" if full else "this process goes on"
            reason = str(error).strip().splitlines()[0]
            say(f"a CUDA graph cannot be recorded, so {going_on} without ({reason})")
        self._failed, self._told = not full, True


class Replayed:
    """Calls a function of tensors; from the fourth call on, a recording of it is replayed.

    The tensors must have the same shapes in every call. Those that are returned are overwritten by
    the next call.
    """

    def __init__(self, work: Callable[..., Any], tape: Tape) -> None:
        self._work = work
        self._tape = tape
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._play: Callable[[], Any] | None = None

    def __call__(self, *given: Tensor) -> Any:
        """Return what the function returns."""
        if self._calls < WARM_UP:
            self._calls += 1
            return self._tape.run(lambda: self._work(*given))
        if self._play is None:
            work, inputs = self._work, [tensor.clone() for tensor in given]
            self._inputs = inputs
            self._play = self._tape.record(lambda: work(*inputs))
        for own, other in zip(self._inputs, given, strict=True):
            own.copy_(other)
        return self._play()


class ReplayedDenoiser(nn.Module):
    """Predicts as any denoiser of one shape does, whose weights it takes over.

    Recordings hold places in memory, not numbers, so one per shape of the inputs serves all
    coalitions. They take the memory of a call each, until they are forgotten.
    """

    def __init__(self, denoiser: nn.Module, compiled: Compiler, tape: Tape) -> None:
        super().__init__()
        # parameters that require gradients would be cast once for all by autocast, and a recording
        # would go on with numbers of long ago
        self._own = copy.deepcopy(denoiser).requires_grad_(False).eval()
        self._predict = compiled(self._own)
        self._tape = tape
        self._device = next(self._own.parameters()).device
        self._recordings: dict[tuple[object, ...], Replayed] = {}

    def fits(self, denoiser: nn.Module) -> bool:
        """Return whether a denoiser has the same tensors, but for their numbers."""
        return _tensors(self._own) == _tensors(denoiser)

    @torch.no_grad()
    def take(self, denoiser: nn.Module) -> None:
        """Go on with the weights of a denoiser that fits."""
        given = denoiser.state_dict()
        for name, own in self._own.state_dict().items():
            own.copy_(given[name])

    def forget(self) -> None:
        """Give back the memory of all recordings, also to processes that share the GPU."""
        self._recordings.clear()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def forward(self, *inputs: Any, **conditions: Any) -> Any:
        """Return the prediction as denoisers of diffusers do; schedulers may keep it.

        Only what is asked by tensors on its device is replayed.
        """
        tensors = (*inputs, *conditions.values())
        if not all(isinstance(one, Tensor) and one.device == self._device for one in tensors):
            return self._predict(*inputs, **conditions)
        names = tuple(conditions)
        key = (names, *(tensor.shape for tensor in tensors))
        if key not in self._recordings:
            self._recordings[key] = Replayed(partial(self._predicted, names), self._tape)
        try:
            return SimpleNamespace(sample=self._recordings[key](*tensors).clone())
        except RuntimeError as error:
            if is_out_of_memory(error):
                self.forget()
            raise

    def _predicted(self, names: tuple[str, ...], *tensors: Tensor) -> Tensor:
        inputs = tensors[: len(tensors) - len(names)]
        conditions = dict(zip(names, tensors[len(inputs) :], strict=True))
        return self._predict(*inputs, **conditions).sample


def _tensors(denoiser: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (t.shape, t.dtype) for name, t in denoiser.state_dict().items()}
