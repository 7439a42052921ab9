"""How long `credit --help` takes when warm, against starting Python with numpy and Hydra alone.

    python benchmarks/startup.py

It must stay under 1.5 seconds: nothing heavy is imported before a study is assembled.
"""

import statistics
import subprocess
import sys
import time

from table import row

REFERENCE = "import numpy, hydra, omegaconf"
RUNS = 7


def main() -> None:
    ours = seconds([sys.executable, "-m", "crediting", "--help"])
    reference = seconds([sys.executable, "-c", REFERENCE])
    row(
        "`credit --help`",
        f"{ours:.2f} s",
        f"{reference:.2f} s: `{REFERENCE}`",
        f"{ours / reference:.1f}",
    )
    sys.exit(ours > 1.5)


def seconds(command: list[str]) -> float:
    """Return the median wall time of a command, the first two runs left out."""
    times = []
    for _ in range(RUNS + 2):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
