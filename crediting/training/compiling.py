"""Compiling denoisers: one compilation serves all coalitions, because their shapes are the same."""

from collections.abc import Callable
from typing import TypeVar

import torch

from crediting.errors import ConfigError

MODES = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""By what `runtime.compile` says: torch's own recordings would be made anew for every coalition,
whose weights lie elsewhere; crediting.training.cuda_graphs records what is compiled, too.
"""

_SHAPES = 64
"""For which a computation is compiled at most, each by itself."""

Compiler = Callable[[Callable], Callable]
"""Returns what computes the same as a module or function, faster or as fast."""

_T = TypeVar("_T", bound=Callable)


def as_it_is(computation: _T) -> _T:
    """Return a computation uncompiled."""
    return computation


def compiler(mode: str | None) -> Compiler:
    """Return the compiler of a mode of torch.compile, or `as_it_is` for None.

    Parameters are inputs of the compiled code, so another denoiser of the same shape needs no
    compilation of its own; another batch size does.

    Raises:
        ConfigError: there is no such mode.
    """
    if mode is None:
        return as_it_is
    if mode not in MODES:
        raise ConfigError(
            f"runtime.compile: expected null or one of {', '.join(MODES)}, got {mode!r}"
        )
    # after eight shapes torch would go on uncompiled; stacks and small coalitions have more
    torch._dynamo.config.recompile_limit = _SHAPES
    return lambda computation: torch.compile(computation, mode=MODES[mode], dynamic=False)
