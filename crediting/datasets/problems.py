"""How a dataset says what is wrong with it: everything at once, and the name that was meant."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from crediting import errors
from crediting.errors import did_you_mean


def refuse(root: Path, problems: Sequence[str]) -> None:
    """Raise DataError if a dataset has problems, with all of them."""
    errors.refuse(f"{root} cannot be used as it is:", problems)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return advice on a misspelt word: the nearest known one, or all of them."""
    return did_you_mean(word, sorted(map(shown, known)))


def shown(text: object) -> str:
    """Return a name or path fit for one line: line breaks and the like are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
