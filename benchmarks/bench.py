"""Speed, memory and scaling of everything, as one table of ratios against stated references.

    python benchmarks/bench.py

Runs the other benchmarks one after another (about half an hour on two cores; on a GPU the systems
of the paper at full size, too) and prints the rows in which they say what they found; that of
memory prints a table of its own. Timings need an otherwise idle machine.
"""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch
from table import HEADER

HERE = Path(__file__).parent
EVERYWHERE = (
    ("startup.py",),
    ("workers.py",),
    ("scaling.py",),
    ("reference_loop.py",),
    ("coalition.py", "--experiment", "digits"),
    ("scale.py",),
    ("scale.py", "--contributors", "1000", "--resumed", "0"),
    ("memory.py",),
)
FAST = ("runtime.precision=bf16", "runtime.cuda_graphs=true", "generation.batch_size=auto")
COMPILED = (*FAST, "runtime.channels_last=true", "runtime.compile=default")
ON_A_GPU = tuple(
    ("coalition.py", "--experiment", experiment, "--images", str(images), *settings)
    for experiment, images in (("cifar_ddpm", 2048), ("celeba_ldm", 100), ("artbench_sd_lora", 50))
    for settings in ((), FAST, COMPILED, (*COMPILED, "generation=dpm_solver"))
)


def main() -> None:
    commands = EVERYWHERE + (ON_A_GPU if torch.cuda.is_available() else ())
    rows, failed = [], []
    for script, *arguments in commands:
        print(f"\n$ python benchmarks/{script} {' '.join(arguments)}", flush=True)
        code = run([sys.executable, str(HERE / script), *arguments], rows)
        failed += [script] if code else []
    print(f"\n{machine()}\n")
    print("| " + " | ".join(HEADER) + " |\n" + "| --- " * len(HEADER) + "|")
    print("\n".join(rows))
    if failed:
        sys.exit(f"not within its bound, or failed: {', '.join(failed)}")


def run(command: list[str], rows: list[str]) -> int:
    """Run a benchmark, show what it prints, keep its rows, and return its exit code."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("| ") and line.count("|") == len(HEADER) + 1:
                rows.append(line.rstrip())
        return process.wait()


def machine() -> str:
    """Return processor or GPU, cores, Python and the versions that shape speed."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "diffusers"))
    return f"{device}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def processor() -> str:
    known = Path("/proc/cpuinfo")  # where there is none, or none that tells, Python may know
    lines = known.read_text().splitlines() if known.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(names, platform.processor() or platform.machine())


if __name__ == "__main__":
    main()
