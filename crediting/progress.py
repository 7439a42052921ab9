"""What long work says while it runs: plain lines, and bars with the time left, on stderr."""

import sys
from typing import Any

from tqdm import tqdm


def say(text: str) -> None:
    """Write one line about what is going on."""
    tqdm.write(text, file=sys.stderr)


def bar(label: str, total: int, unit: str = "step") -> Any:
    """Return a progress bar; where stderr is no terminal it prints a line every half minute."""
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=label,
        total=total,
        unit=unit,
        file=sys.stderr,
        mininterval=0.2 if terminal else 30,
        maxinterval=10 if terminal else 60,
        dynamic_ncols=terminal,
        leave=terminal,
    )
