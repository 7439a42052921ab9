"""The one pickle that is read: CIFAR's published format, numpy arrays in plain containers."""

import io
import pickle
from typing import Any

import numpy as np


class PickleRefusedError(Exception):
    """A pickle asks for something else than arrays and containers, or is damaged."""


def arrays_and_containers(content: bytes) -> Any:
    """Return what was pickled, text as latin-1; nothing in it can name code to be run.

    Raises:
        PickleRefusedError: it refers to any other class or function, or is damaged.
    """
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except PickleRefusedError:
        raise
    except Exception as error:  # unpickling damaged content raises whatever it stumbles over
        raise PickleRefusedError(f"it is damaged ({error})") from error


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for `codecs.encode`, by which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise PickleRefusedError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle refers to, from the list above instead of by import."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise PickleRefusedError(
                f"it asks for {module}.{name}, and CIFAR's files need nothing but arrays"
            ) from None
