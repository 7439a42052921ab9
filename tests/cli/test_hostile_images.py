"""Images may be damaged, hostile or misplaced: all is told at once, nothing trained or lost."""

import os
import shutil
import sqlite3
import struct
import zlib

import numpy as np
import pytest
from credit_forks import nothing_was_trained, the_only_message
from PIL import Image

pytestmark = pytest.mark.slow

GREY = (
    *("dataset=image_folder", "dataset.root=photos", "partition=by_contributor"),
    *("dataset.channels=1", "property=[fid]"),
)


def save(file, seed, side=8):
    """Write noise, other for every seed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    return file


def huge():
    """Return a PNG of few bytes that claims 100,000 x 100,000 pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


@pytest.fixture
def photos(tmp_path):
    """Two contributors with two sound images each, in the folder to run in."""
    for seed, name in enumerate(("ada/1.png", "ada/2.png", "bo/1.png", "bo/2.png")):
        save(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


@pytest.fixture
def refused(credit, tmp_path):
    """Return `refused(*words)`: the message, one line for each problem."""

    def run(*words):
        message = the_only_message(credit(GREY, words, cwd=tmp_path))
        assert nothing_was_trained(tmp_path / "outputs")
        return message.splitlines()

    return run


def unmentioned(expected, lines):
    """Return which (name, reason) no line tells of."""
    return [
        pair for pair in expected if not any(all(part in line for part in pair) for line in lines)
    ]


def test_everything_wrong_with_a_folder_is_told_at_once(photos, refused, tmp_path):
    save(photos / "ada/cut.jpg", 10, side=64)
    (photos / "ada/cut.jpg").write_bytes((photos / "ada/cut.jpg").read_bytes()[:1500])
    (photos / "ada/text.png").write_text("no image")
    (photos / "bo/empty.png").touch()
    (photos / "bo/huge.png").write_bytes(huge())
    (photos / "bo/out.png").symlink_to(save(tmp_path / "elsewhere.png", 11))
    os.mkfifo(photos / "bo/pipe.png")
    save(photos / "cy/only.png", 12)
    shutil.copy(photos / "ada/1.png", photos / "bo/same.png")
    save(photos / "ada/wide.png", 13, side=9)
    (photos / "nobody").mkdir()
    for seed, name in enumerate(("two\nlines/1.png", "two\nlines/2.png", "Zoë ☃/1.png"), start=20):
        save(photos / name, seed)
    lines = refused()
    expected = [
        ("ada/cut.jpg", "truncated"),
        ("ada/text.png", "is no image of a known format"),
        ("bo/empty.png", "is no image of a known format"),
        ("bo/huge.png", "too many pixels to be opened safely"),
        ("bo/out.png", "lies outside"),
        ("bo/pipe.png", "is no regular file"),
        ("cy/only.png", "is the only image of cy"),
        ("ada/1.png (ada)", "bo/same.png (bo): these are the same image"),
        ("ada/wide.png", "the images have 2 sizes"),
        ("photos/nobody", "there is no image in this folder"),
        (r"'two\nlines'", "cannot be printed; rename it"),
        ("Zoë ☃/1.png", "is the only image of Zoë ☃"),
    ]
    assert unmentioned(expected, lines) == []
    assert len(lines) == 1 + len(expected)


def test_everything_wrong_with_a_manifest_is_told_at_once(photos, refused, tmp_path):
    (photos / "out.png").symlink_to(save(tmp_path / "elsewhere.png", 11))
    rows = ("ada/1.png,ada", "ada/2.png,ada", "bo/1.png,bo", "bo/2.png,bo")
    wrong = {
        "../elsewhere.png,ada": "lies outside",
        "/etc/passwd,ada": "is absolute",
        "out.png,bo": "is a link that leads out",
        "gone.png,bo": "there is no such file",
        "ada/1.png,bo": "is named by",
        "bo,bo": "is a folder",
        ",ada": "'path' is empty",
    }
    (tmp_path / "m.csv").write_text("\n".join(["path,contributor", *rows, *wrong]))
    lines = refused("dataset.manifest=m.csv")
    expected = [(f"m.csv line {n}:", reason) for n, reason in enumerate(wrong.values(), start=6)]
    assert unmentioned(expected, lines) == []
    assert len(lines) == 1 + len(expected)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("m.csv", "file,who\nada/1.png,ada\n", ["no column 'path'", "no column 'contributor'"]),
        ("m.jsonl", "<html>\n", ["line 1: is no JSON"]),
        ("m.parquet", "<html>\n", ["cannot be read"]),
    ],
)
def test_tables_that_are_no_manifest(name, content, expected, photos, refused):
    (photos.parent / name).write_text(content)
    lines = refused(f"dataset.manifest={name}")
    assert unmentioned([(name, reason) for reason in expected], lines) == []
    assert len(lines) == 1 + len(expected)


def test_folders_that_hold_no_study(refused, tmp_path):
    assert "dataset.root: there is no folder" in refused()[1]
    (tmp_path / "photos").mkdir()
    assert "there is no folder in it; expected one per contributor" in refused()[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(photos, refused):
    (photos / "ada/1.png").chmod(0)
    assert unmentioned([("ada/1.png", "ermission denied")], refused()) == []


def test_images_of_another_shape_than_the_model(photos, refused, tmp_path):
    for seed, label in enumerate(("hill", "sea")):
        save(tmp_path / "labelled" / label / "1.png", 50 + seed)
    (line,) = refused("dataset.size=16", "dataset.reference=labelled")
    assert "model.unet: expected images of 1 channels, 8 x 8 pixels" in line
    assert "16 x 16" in line


# ------------------------------------------------------------------------------ published sets


def test_photographs_of_celebrities(credit, published, tmp_path):
    name = "celeba_hq_256_50_resized"
    shutil.copytree(published / "miniature/data" / name, tmp_path / "mine" / name)
    (tmp_path / "miniature").symlink_to(published / "miniature")
    first, second, third = sorted((tmp_path / "mine" / name).glob("*.jpg"))[:3]
    first.write_text("no image")
    second.unlink()
    third.unlink()
    os.mkfifo(third)
    with (tmp_path / "mine" / name / "labels.csv").open("a") as table:
        table.write("17_/../../../elsewhere.jpg,17,train\n")
    save(tmp_path / "elsewhere.jpg", 1)
    words = ("+experiment=celeba_ldm", "+size=miniature", "dataset.root=mine")
    lines = the_only_message(credit(words, cwd=tmp_path)).splitlines()
    expected = [
        (first.name, "is no image of a known format"),
        (second.name, "there is no such file"),
        (third.name, "is no regular file"),
        ("elsewhere.jpg", "lies outside"),
    ]
    assert unmentioned(expected, lines) == []
    assert len(lines) == 1 + len(expected)
    assert nothing_was_trained(tmp_path / "outputs")


# ------------------------------------------------------------------------------ nothing is lost


def recorded(folder):
    """Return every row of every ledger."""
    rows = []
    for path in folder.glob("outputs/store/game-*/ledger.sqlite"):
        with sqlite3.connect(path) as ledger:
            rows += ledger.execute("SELECT * FROM evaluations").fetchall()
        ledger.close()
    return sorted(map(str, rows))


def test_a_finished_study_outlives_damage_to_its_images(credit, miniature, photos, tmp_path):
    for seed, name in enumerate(("cy/1.png", "cy/2.png"), start=30):
        save(photos / name, seed)
    for seed in range(8):
        save(tmp_path / f"held/{seed % 2}/{seed}.png", 40 + seed)
    ours = [word for word in miniature if not word.startswith(("partition", "design"))]
    words = (*GREY, *ours, "dataset.reference=held", "design=exhaustive", "estimator=exact")
    words = (*words, "model.training.batch_size=4", "report.grid=4")
    first = credit(words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    before = recorded(tmp_path)
    assert len(before) == 8
    sound = (photos / "bo/1.png").read_bytes()
    (photos / "bo/1.png").write_bytes(sound[:40])
    (tmp_path / "held/0/0.png").rename(tmp_path / "kept.png")
    (tmp_path / "held/0/0.png").touch()
    message = the_only_message(credit(words, cwd=tmp_path))
    assert "bo/1.png: is " in message
    assert "held/0/0.png: is no image" in message
    assert recorded(tmp_path) == before
    (photos / "bo/1.png").write_bytes(sound)
    (tmp_path / "kept.png").replace(tmp_path / "held/0/0.png")
    again = credit(words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "8 reused, 0 to evaluate" in again.stderr
    assert "making" not in again.stderr, "something was made anew"
    assert recorded(tmp_path) == before
