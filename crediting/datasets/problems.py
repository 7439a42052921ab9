"""How a dataset says what is wrong with it: everything at once, and the name that was meant."""

from collections.abc import Iterable, Sequence

from crediting.errors import DataError, did_you_mean

MOST_SPELT_OUT = 20


def refuse(what: str, problems: Sequence[str]) -> None:
    """Do nothing if there are no problems.

    Raises:
        DataError: listing them, the first 20 in full.
    """
    if not problems:
        return
    lines = [f"  - {problem}" for problem in problems[:MOST_SPELT_OUT]]
    if len(problems) > MOST_SPELT_OUT:
        lines.append(f"  ... and {len(problems) - MOST_SPELT_OUT} more")
    raise DataError("\n".join([f"{what} cannot be used as it is:", *lines]))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return advice on a misspelt word: the nearest known one, or all of them."""
    return did_you_mean(word, sorted(map(shown, known)))


def shown(text: object) -> str:
    """Return a name or path fit for one line: line breaks and the like are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
