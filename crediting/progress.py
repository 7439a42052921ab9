"""What long work says while it runs: plain lines, and bars with the time left, on stderr."""

import math
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Any, TextIO

from tqdm import tqdm

# no two processes share a bar; tqdm's own lock is a semaphore, which a killed process leaves behind
tqdm.set_lock(RLock())


_label: str | None = None


def share_terminal(label: str) -> None:
    """From now on begin every line with a label and draw no bars: others write there as well.

    Tables on stdout are made narrower by that much.
    """
    global _label
    _label = label
    if not isinstance(sys.stdout, _Labelled):  # of a process that does one job after another
        os.environ["COLUMNS"] = str(shutil.get_terminal_size().columns - len(label))
        sys.stdout = _Labelled(sys.stdout)


class _Labelled:
    """A stream of text whose lines begin with the label, and are written as they are complete."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""

    def write(self, text: str) -> int:
        """Write the lines that text completes, and return its length."""
        *lines, self._begun = (self._begun + text).split("\n")
        self._stream.write("".join(f"{_label}{line}\n" for line in lines))
        self._stream.flush()
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def say(text: str) -> None:
    """Write one line about what is going on, as long as there is a terminal."""
    with suppress(OSError):
        tqdm.write((_label or "") + text, file=sys.stderr)


def bar(
    label: str,
    total: int,
    unit: str = "step",
    seconds_left: Callable[[], float] | None = None,
    delay: float = 0,
) -> Any:
    """Return a progress bar; where stderr is no terminal it prints a line every half minute.

    `seconds_left` tells the time left where steps do not all take the same; NaN is unknown. What
    takes less than `delay` seconds shows none.
    """
    terminal = sys.stderr.isatty() and _label is None
    settings: dict[str, Any] = {
        "desc": (_label or "") + label,
        "total": total,
        "unit": unit,
        "file": sys.stderr,
        "mininterval": 0.2 if terminal else 30,
        "maxinterval": 10 if terminal else 60,
        "dynamic_ncols": terminal,
        "leave": terminal,
        "delay": delay,
    }
    return tqdm(**settings) if seconds_left is None else _Foretold(seconds_left, **settings)


def advance(progress: Any, done: int) -> None:
    """Move a bar to a number of things done; where it leaps, it was not now that they were."""
    if done > progress.n + 1:
        progress.initial = progress.n = progress.last_print_n = done
    progress.update(done - progress.n)


class _Foretold(tqdm):
    """A bar that is told the time left."""

    _FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{foretold}, {rate_fmt}{postfix}]"

    def __init__(self, seconds_left: Callable[[], float], **settings: Any) -> None:
        self._seconds_left = seconds_left
        super().__init__(bar_format=self._FORMAT, **settings)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What a line is made of."""
        left = self._seconds_left()
        foretold = "?" if math.isnan(left) else self.format_interval(left)
        return {**super().format_dict, "foretold": foretold}
