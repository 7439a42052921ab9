"""Compiling denoisers: one compilation serves all coalitions, because their shapes are the same."""

import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from crediting.errors import ConfigError

MODES = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""By what `runtime.compile` says: torch's own recordings would be made anew for every coalition,
whose weights lie elsewhere; crediting.training.cuda_graphs records what is compiled, too.
"""

_HEADER = Path(sysconfig.get_path("include"), "Python.h")

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
        ConfigError: there is no such mode, or no C++ compiler or headers of Python here.
    """
    if mode is None:
        return as_it_is
    if mode not in MODES:
        raise ConfigError(
            f"runtime.compile: expected null or one of {', '.join(MODES)}, got {mode!r}"
        )
    _check_compiler()
    # after eight shapes torch would go on uncompiled; stacks and small coalitions have more
    torch._dynamo.config.recompile_limit = _SHAPES
    return lambda computation: torch.compile(computation, mode=MODES[mode], dynamic=False)


def _check_compiler() -> None:
    """Check for what generated code takes, of which torch tells only when the first is compiled."""
    # only who compiles waits for these imports
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
        missing = "" if _HEADER.is_file() else f"the headers of Python ({_HEADER})"
    except InvalidCxxCompiler:
        missing = "a C++ compiler that runs, of the name in CXX if it is set, else g++"
    if missing:
        raise ConfigError(
            f"runtime.compile: expected {missing}, there is none here; install it, or set "
            "runtime.compile=null, which computes the same without generated code"
        )
