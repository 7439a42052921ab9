"""Run the studies that the README shows and copy what it shows into outputs/.

python scripts/update_example.py [example] [digits_proof]
"""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

OUTPUTS = Path(__file__).resolve().parent.parent / "outputs"
EXAMPLE = (
    "shapley_inception_score.csv",
    "shapley_inception_score.md",
    "shapley_inception_score.png",
    "interactions_inception_score.png",
    "images_inception_score.png",
)


def main() -> None:
    """Run those that are named, or the default study alone: the proof takes hours."""
    for name in sys.argv[1:] or ["example"]:
        {"example": default_study, "digits_proof": digits_proof}[name]()


def default_study() -> None:
    """Run the default study and copy the files that are shown of it."""
    credit()
    copy([OUTPUTS / "studies" / "digits_ddpm" / name for name in EXAMPLE], "example")


def digits_proof() -> None:
    """Run the proof on digits and copy all of its tables and figures."""
    credit("+experiment=digits_proof", "stage=compare", "compare.trainings=1")
    shutil.rmtree(OUTPUTS / "digits_proof", ignore_errors=True)
    copy((OUTPUTS / "studies" / "digits_proof" / "compare").iterdir(), "digits_proof")


def credit(*words: str) -> None:
    """Run `credit` into outputs/ of this checkout."""
    subprocess.run(
        [sys.executable, "-m", "crediting", *words, f"paths.outputs={OUTPUTS}"], check=True
    )


def copy(files: Iterable[Path], folder: str) -> None:
    """Copy files into a folder under outputs/."""
    (OUTPUTS / folder).mkdir(exist_ok=True)
    for path in files:
        shutil.copy(path, OUTPUTS / folder / path.name)


if __name__ == "__main__":
    main()
