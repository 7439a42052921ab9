"""Errors that the user can mend; everything else is a bug and keeps its traceback."""

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches


class CreditingError(Exception):
    """A problem the user can mend: its message says what was expected, found, and what to do."""


class ConfigError(CreditingError):
    """The configuration cannot work; the message names the key."""


class DataError(CreditingError):
    """The dataset or its partition cannot be used; the message names the file or contributor."""


class ArtifactError(CreditingError):
    """A file in the store cannot be read back; the message names it."""


class LedgerError(CreditingError):
    """A ledger cannot be used, or does not hold what was asked of it."""


class EvaluationError(CreditingError):
    """Coalitions could not be evaluated; what was recorded before is kept."""


class DeviceLostError(EvaluationError):
    """A GPU answers no more, so whatever fails on it says nothing of the coalition."""


ANY_FAILURE = (Exception, SystemExit)
"""What anybody's code may end in: by `sys.exit` a part fails, which must not end the program."""

NO_FAULT_OF_A_COALITION = (OSError, ArtifactError, ConfigError)
"""A file cannot be read or written, or a setting cannot work: all others would fail, too."""


_ANOTHER_FOLDER = (
    "choose a folder that you may write to with paths.outputs=<folder>, and copy there what is to "
    "be gone on with"
)
_STORAGE_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your disk quota is used up; free some space",
    errno.EFBIG: "a file grew over the allowed size; raise the limit",
    errno.EACCES: f"permission denied; {_ANOTHER_FOLDER}",
    errno.EPERM: f"permission denied; {_ANOTHER_FOLDER}",
    errno.EROFS: f"the file system is read-only; {_ANOTHER_FOLDER}",
    errno.EISDIR: "a folder is in the place of a file; remove it",
    errno.EEXIST: "a file is in the place of a folder; remove it",
    errno.ENAMETOOLONG: "the name is too long; shorten it",
    errno.ENOTDIR: "part of the path is a file; choose another folder with paths.outputs=<folder>",
}


_MOST_SPELT_OUT = 20

_OUT_OF_MEMORY = (
    "out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "unable to find an engine",
    "DefaultCPUAllocator",
    "Storage size calculation overflowed",
)
"""What CUDA, cuBLAS, cuDNN and cuSOLVER say where they find no memory, and torch on a CPU."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory does not suffice, in whatever words a library says so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True  # torch's, by its name: torch need not be loaded here
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _OUT_OF_MEMORY)


def as_user_error(error: BaseException) -> CreditingError | None:
    """Return the message for an error that the user can mend, or None for a bug of ours."""
    if isinstance(error, CreditingError):
        return error
    if isinstance(error, OSError) and error.errno in _STORAGE_ADVICE:
        where = f"{error.filename}: " if error.filename else ""
        return CreditingError(
            f"{where}{_STORAGE_ADVICE[error.errno]}. Nothing recorded so far is lost: "
            "run the same command again afterwards."
        )
    if is_out_of_memory(error):
        said = str(error).strip().partition("\n")[0].partition(". ")[0]
        return CreditingError(
            f"the memory of the device does not suffice ({said}). Lower model.training.batch_size, "
            "finetuning.recipe.batch_size or generation.batch_size, whichever was at work (with "
            "influence unlearning finetuning.fisher_batches), set "
            "runtime.gradient_checkpointing=true, runtime.precision=bf16 or "
            "model.training.optimizer=adamw8bit, choose a smaller model (model.unet), or free the "
            "device of other work. Nothing recorded so far is lost: run the same command again "
            "afterwards."
        )
    return None


def located(path: str, message: str) -> str:
    """Return a part's message with the part's key in front, unless it begins with a whole key.

    Where the message begins with the name of a setting, the key is that of the setting.
    """
    if message.startswith(f"{path.partition('.')[0]}."):
        return message
    return f"{path}.{message}" if re.match(r"\w+: ", message) else f"{path}: {message}"


@contextmanager
def naming(path: str, kind: type[CreditingError] = CreditingError) -> Iterator[None]:
    """Put a part's key, which it does not know, in front of what it complains of, as `located`."""
    try:
        yield
    except kind as error:
        raise type(error)(located(path, str(error))) from error


def refuse(headline: str, problems: Sequence[str]) -> None:
    """Raise DataError if there are problems; it lists them, the first 20 in full."""
    if not problems:
        return
    lines = [f"  - {problem}" for problem in problems[:_MOST_SPELT_OUT]]
    if len(problems) > _MOST_SPELT_OUT:
        lines.append(f"  ... and {len(problems) - _MOST_SPELT_OUT} more")
    raise DataError("\n".join([headline, *lines]))


def first_of(words: Sequence[str], most: int = 3) -> str:
    """Return the first of several words for one line, and how many more there are."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return advice on a misspelt word: the nearest known one, or all of them."""
    candidates = [str(candidate) for candidate in known]
    near = get_close_matches(word, candidates, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(candidates)}" if candidates else "there are none"
