"""Write miniature data and weights in the formats of the published ones, to try the experiments.

python scripts/miniature_files.py [FOLDER]

Pictures of coloured shapes lie in FOLDER/data, tiny networks with random weights in FOLDER/models,
each where and how the published one is laid out. Nothing is downloaded, and nothing learnt from
them means anything. What is there already is kept.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent))  # where others import this file by path
from miniature import cifar, folders, judges, pipelines

FOLDER = Path("miniature")
"""Where +size=miniature looks for what is written."""
INCEPTION = "models/inception_v3_google-0cc3c7bd.pth"
PIECES: dict[str, Callable[[Path], None]] = {
    "data/cifar-100-python": cifar.write_cifar,
    "data/celeba_hq_256_50_resized": folders.write_celeba,
    "data/celeba_reference": folders.write_reference_faces,
    "data/artbench-10-imagefolder-split": folders.write_artbench,
    "data/photos": folders.write_photos,
    "data/photos.csv": folders.write_csv,
    "data/photos.jsonl": folders.write_jsonl,
    "data/photos.parquet": folders.write_parquet,
    "models/ldm-celebahq-256": pipelines.write_ldm,
    "models/miniSD-diffusers": pipelines.write_sd,
    "models/ddpm-32": pipelines.write_ddpm,
    "models/blip-vqa-base": judges.write_blip,
    "models/clip-vit-large-patch14": judges.write_clip_large,
    "models/clip-vit-base-patch32": judges.write_clip_base,
    "models/sa_0_4_vit_l_14_linear.pth": judges.write_aesthetic_head,
    INCEPTION: judges.write_inception,
    "models/inception-2015-12-05.pt": judges.write_inception_2015,
}
MARKER = "miniature.json"
EXPERIMENTS = ("cifar_ddpm", "celeba_ldm", "artbench_sd_lora", "image_folder")


def write(folder: Path, force: bool = False, inception: bool = True) -> None:
    """Write what is missing; if forced, write again what was written here before.

    The marker lists what was written so far: nothing else is ever replaced. Without `inception`,
    the weights of Inception-v3 are left out: 68 MB, all else together 8 MB.
    """
    marker = folder / MARKER
    written = json.loads(marker.read_text()) if marker.exists() else {}
    for name, make in PIECES.items():
        target = folder / name
        wanted = inception or name != INCEPTION
        if wanted and (not target.exists() or (force and name in written)):
            _write_whole(target, make)
            written[name] = {"bytes": _size(target)}
            marker.write_text(json.dumps(written, indent=2) + "\n")


def _write_whole(target: Path, make: Callable[[Path], None]) -> None:
    """Write elsewhere first: what is in its place is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as aside:
        made = Path(aside) / target.name
        make(made)
        _remove(target)
        made.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    """Write the files and say what to do with them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--force", action="store_true", help="write again what it wrote before")
    parser.add_argument(
        "--inception",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the weights of Inception-v3, whose size cannot be reduced: 68 MB",
    )
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    write(arguments.folder, arguments.force, arguments.inception)
    print(f"Miniature data and weights are in {arguments.folder}. Try")
    for name in EXPERIMENTS:
        print(f"  credit +experiment={name} +size=miniature")
    if arguments.folder != FOLDER:
        print(f"where it lies at {FOLDER}, or at other paths that you name.")


if __name__ == "__main__":
    main()
