"""Folders of images: CelebA-HQ by identity, ArtBench by artist, photographs by contributor."""

import csv
import json
from pathlib import Path

from .pictures import picture, random, save

SIZE = 64
IDENTITIES = (17, 63, 65, 95, 104, 122)
ARTISTS = {
    "edouard-cortes": "flower-market",
    "moise-kisling": "portrait-of-a-woman",
    "paul-cezanne": "the-bathers_1899",
    "paul-gauguin": "breton-women",
    "vincent-van-gogh": "wheat-field",
    "vladimir-dimitrov": "harvest",
}
CONTRIBUTORS = ("amara", "bjorn", "chiara", "dai")
LABELS = ("kite", "house", "tree")
COLUMNS = ("path", "contributor", "caption", "label")
PHOTOS = (
    ("png", "RGB", 64, 64),
    ("jpg", "RGB", 64, 80),
    ("webp", "RGB", 72, 64),
    ("png", "RGBA", 64, 64),
    ("jpg", "L", 96, 72),
    ("webp", "RGB", 64, 64),
)
"""Format, mode, height and width of the photographs of each contributor."""
REFERENCE_GROUPS = 8
REFERENCE_PER_GROUP = 5


def write_celeba(folder: Path) -> None:
    """Write 4 to 6 faces of each of six identities, and the table that lists them."""
    rows = []
    for place, identity in enumerate(IDENTITIES):
        for number in range(4 + place % 3):
            name = f"{identity}_{100 * place + number}.jpg"
            save(folder / name, picture("face", f"celebrity {identity}", number, SIZE, SIZE))
            rows.append((name, identity, "test" if number == 0 else "train"))
    order = random("celeba").permutation(len(rows))
    _write_table(folder / "labels.csv", [("filename", "celeb", "split"), *(rows[i] for i in order)])


def write_artbench(folder: Path) -> None:
    """Write two styles, each split into train and test; a file's name begins with its artist."""
    for place, (artist, title) in enumerate(ARTISTS.items()):
        for number in range(4 + place % 3 + 2):
            part = "test" if number < 2 else "train"
            path = folder / part / "post_impressionism" / f"{artist}_{title}-{number}.jpg"
            save(path, picture(title, artist, number, SIZE, SIZE))
    for number in range(6):
        path = folder / ("test" if number < 2 else "train") / "impressionism"
        name = f"claude-monet_water-lilies-{number}.jpg"
        save(path / name, picture("lilies", "monet", number, SIZE, SIZE))


def write_reference_faces(folder: Path) -> None:
    """Write faces of eight groups, to be clustered."""
    for group in range(REFERENCE_GROUPS):
        for number in range(REFERENCE_PER_GROUP):
            path = folder / f"{group * REFERENCE_PER_GROUP + number:05d}.jpg"
            save(path, picture(f"group {group}", f"group {group}", number, SIZE, SIZE))


def write_photos(folder: Path) -> None:
    """Write six photographs of each contributor: several formats, modes and sizes."""
    for row, (_, mode, height, width) in zip(photos(), PHOTOS * len(CONTRIBUTORS), strict=True):
        _, who, name = row["path"].split("/")
        number = int(name.split(".")[0])
        save(folder / who / name, picture(row["label"], who, number, height, width), mode)


def photos() -> list[dict[str, str]]:
    """Return a row per photograph; paths start where the manifest lies."""
    return [
        {
            "path": f"photos/{who}/{number}.{suffix}",
            "contributor": who,
            "caption": f"a photo of a {LABELS[number % len(LABELS)]}",
            "label": LABELS[number % len(LABELS)],
        }
        for who in CONTRIBUTORS
        for number, (suffix, *_) in enumerate(PHOTOS)
    ]


def write_csv(path: Path) -> None:
    """Write the manifest of the photographs as comma-separated values."""
    _write_table(path, [COLUMNS, *(tuple(row.values()) for row in photos())])


def write_jsonl(path: Path) -> None:
    """Write the manifest of the photographs as one JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in photos()), encoding="utf-8")


def write_parquet(path: Path) -> None:
    """Write the manifest of the photographs as a Parquet table."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(photos()), path)


def _write_table(path: Path, rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
