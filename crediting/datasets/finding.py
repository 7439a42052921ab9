"""Which image files lie in a folder, in an order that does not depend on the disk."""

import os
from collections.abc import Iterator
from pathlib import Path

from crediting.datasets.problems import shown
from crediting.errors import ConfigError

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"),
    *(".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""What is taken for an image; they are those of `reading.FORMATS`."""

_FOREIGN = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".tga", ".exr", ".hdr", ".dib"),
    *(".dng", ".raw", ".arw", ".cr2", ".cr3", ".nef", ".orf", ".raf", ".rw2", ".pef", ".srw"),
)
_BEGINNINGS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
"""How pictures begin, whatever they are called: PNG, JPEG, GIF and TIFF."""


def folder_at(path: str) -> Path:
    """Return a folder that a setting names, as an absolute path: workers may run elsewhere.

    Raises:
        ConfigError: it is empty, which would be the folder that the command is run in.
    """
    if not path:
        raise ConfigError("dataset: expected the path of a folder, got an empty text")
    return Path(path).expanduser().absolute()


def images_below(folder: Path, root: Path) -> tuple[list[Path], list[str]]:
    """Return the image files at any depth, sorted by path as text, and what is wrong.

    Hidden files and files that are no pictures are left out; pictures that cannot be read here or
    have an unknown ending are problems, and so are links out of the root and a folder without any.
    """
    files: list[Path] = []
    ignored: set[str] = set()
    problems: list[str] = []
    for file in _files_below(folder, problems):
        ending = file.suffix.lower()
        if trouble := unknown_picture(file):
            problems.append(f"{shown(file)}: {trouble}")
        elif ending not in ENDINGS:
            ignored.add(ending or "no ending")
        elif trouble := file_problem(file, root):
            problems.append(f"{shown(file)}: {trouble}")
        else:
            files.append(file)
    if not files and not problems:
        others = f" (ignored: files with {', '.join(sorted(ignored))})" if ignored else ""
        problems.append(
            f"{shown(folder)}: there is no image in this folder{others}; expected files ending in "
            f"{', '.join(ENDINGS)}"
        )
    return sorted(files, key=lambda file: file.as_posix()), problems


def unknown_picture(file: Path) -> str | None:
    """Return why a picture would be left out by its ending, or None if it is none or is known."""
    ending = file.suffix.lower()
    if ending in ENDINGS:
        return None
    if ending in _FOREIGN:
        return f"cannot read {ending} files; save it as PNG or JPEG"
    try:
        beginning = b""
        if file.is_file():
            with file.open("rb") as stream:
                beginning = stream.read(8)
    except OSError:
        return None
    if beginning.startswith(_BEGINNINGS):
        return f"is a picture, but its name ends in {ending or 'nothing'}; rename it to .jpg or so"
    return None


def held_out_images(reference: Path | None) -> tuple[list[Path], list[str]]:
    """Return the images in the folder of `dataset.reference`, none if there is no such setting."""
    if reference is None:
        return [], []
    files, problems = images_below(reference, reference)
    return files, [f"dataset.reference: {problem}" for problem in problems]


def file_problem(file: Path, root: Path) -> str | None:
    """Return why a file is not taken, by where it lies: missing, no file, or outside the root."""
    try:
        if not file.resolve().is_relative_to(root.resolve()):
            return f"lies outside {shown(root)}, or is a link that leads out of it; copy it there"
        if file.is_dir():
            return "is a folder; name the image in it"
        if not file.exists():
            return "there is no such file"
        return None if file.is_file() else "is no regular file"
    except (OSError, ValueError, RuntimeError) as error:  # no path at all, too long, links in rings
        return f"cannot be looked up ({shown(error)})"


def _files_below(folder: Path, problems: list[str]) -> Iterator[Path]:
    def unlisted(error: OSError) -> None:
        problems.append(f"{shown(error.filename)}: cannot be listed ({error.strerror})")

    for parent, folders, names in os.walk(folder, onerror=unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if Path(parent, name).is_symlink():
                problems.append(
                    f"{shown(Path(parent, name))}: is a link to a folder, and those are not "
                    "followed; move or copy the folder here"
                )
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))
