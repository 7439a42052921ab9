import csv
import json
import os
import pickle
import shutil

import numpy as np
import pyarrow
import pytest
import torch
from picture_files import as_image, pixels, save
from PIL import Image
from pyarrow import parquet

from crediting.datasets import ImageFolder, image_files
from crediting.errors import ConfigError, DataError
from crediting.partitions import ByLabel, ByShards

SEEDS = {"ada/1.png": 1, "ada/deep/er/2.png": 2, "bo/1.png": 3, "bo/2.bmp": 4, "cy/a b.png": 5}
SEEDS["cy/ünï\ncode.png"] = 6
ORDER = sorted(SEEDS)


def folder(root, **settings):
    defaults = {
        "manifest": None,
        "size": None,
        "channels": 3,
        "resize": "lanczos",
        "reference": None,
        "allow_single": False,
    }
    return ImageFolder(str(root), **(defaults | settings))


def fill(root, names):
    for name in names:
        save(root / name, SEEDS[name])
    return root


@pytest.fixture
def photos(tmp_path):
    return fill(tmp_path / "photos", ORDER)


@pytest.fixture
def table(photos, tmp_path):
    """Return `table(rows, name)`: the manifest with these rows, in whatever format."""

    def write(rows, name="photos.csv"):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as stream:
            if name.endswith(".csv"):
                writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            else:
                stream.writelines(json.dumps(row) + "\n" for row in rows)
        return str(tmp_path / name)

    return write


def rows_of(seeds=SEEDS):
    """Give odd images to xu and even ones to yi, so that owners differ from folders."""
    return [
        {
            "path": path,
            "contributor": ("yi", "xu")[seed % 2],
            "caption": f"noise, number {seed}",
            "label": ("cat", "ant")[seed % 2],
            "year": 2000 + seed,
        }
        for path, seed in seeds.items()
    ]


# ------------------------------------------------------------------------------ folders


def test_folders_are_contributors_and_rows_are_aligned(photos):
    ours = folder(photos)
    columns, images = ours.columns(), ours.training_images()
    assert columns["path"].tolist() == ORDER
    assert columns["contributor"].tolist() == ["ada", "ada", "bo", "bo", "cy", "cy"]
    assert images.shape == (6, 3, 6, 8)
    assert images.dtype == torch.uint8
    for path, image in zip(columns["path"], images, strict=True):
        assert np.array_equal(as_image(image), pixels(SEEDS[path]))


def test_the_order_on_disk_does_not_matter(tmp_path, monkeypatch):
    """Files are created, and listed by the system, in another order each time."""
    walk, digests, images = os.walk, set(), []

    def backwards(*args, **kwargs):
        for parent, folders, names in walk(*args, **kwargs):
            folders.sort(reverse=True)
            yield parent, folders, sorted(names, reverse=True)

    for turn, order in enumerate((ORDER, ORDER[::-1])):
        if turn:
            monkeypatch.setattr(os, "walk", backwards)
        ours = folder(fill(tmp_path / str(turn), order))
        assert ours.columns()["path"].tolist() == ORDER
        digests.add(ours.digest())
        images.append(ours.training_images())
    assert len(digests) == 1
    assert torch.equal(*images)


def test_without_a_reference_the_training_images_serve(photos):
    ours = folder(photos)
    assert torch.equal(ours.reference_images(), ours.training_images())
    assert ours.reference_labels() is None


def test_a_reference_folder_gives_its_own_images_and_labels(photos, tmp_path):
    held_out = tmp_path / "held out"
    for name, seed in (("dogs/1.png", 11), ("cats/2.png", 12), ("dogs/0.png", 13)):
        save(held_out / name, seed)
    ours = folder(photos, reference=str(held_out))
    found = [as_image(image) for image in ours.reference_images()]
    assert [np.array_equal(a, pixels(s)) for a, s in zip(found, (12, 13, 11), strict=True)] == [
        True
    ] * 3
    assert ours.reference_labels().tolist() == [0, 1, 1]
    assert ours.reference_labels().dtype == np.int64
    assert len(ours.training_images()) == 6
    save(held_out / "of no class.png", 14)
    shutil.copytree(held_out, tmp_path / "other")
    assert folder(photos, reference=str(tmp_path / "other")).reference_labels() is None


def test_the_class_of_a_reference_image_is_the_outermost_folder(photos, tmp_path):
    for name in ("cats/young/1.png", "cats/old/2.png", "dogs/old/3.png"):
        save(tmp_path / "held" / name, 11)
    ours = folder(photos, reference=str(tmp_path / "held"))
    assert ours.reference_labels().tolist() == [0, 0, 1]


def test_of_a_root_with_a_manifest_a_folder_may_be_held_out(photos, table):
    training = [row for row in rows_of() if not row["path"].startswith("ada/")]
    ours = folder(photos, manifest=table(training), reference=str(photos / "ada"))
    assert len(ours.training_images()) + len(ours.reference_images()) == len(ORDER)


def test_images_are_brought_to_size_and_colour(photos):
    ours = folder(photos, size=[4, 5], channels=1, resize="bicubic")
    assert ours.training_images().shape == (6, 1, 4, 5)
    assert ours.reference_images().shape == (6, 1, 4, 5)


def test_hidden_files_and_other_files_are_left_out(photos):
    for name in ("ada/.1.png", ".thumbnails/1.png", "bo/notes.txt", "readme.md", "bo/.x/2.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_text("no image")
    assert folder(photos).columns()["path"].tolist() == ORDER


def test_a_home_folder_is_understood(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    assert folder("~/photos").columns()["path"].tolist() == ORDER


def test_images_are_decoded_once_per_process(photos, monkeypatch):
    read, calls = image_files.read_image, []

    def counted(file, frame):
        calls.append(file)
        return read(file, frame)

    monkeypatch.setattr(image_files, "read_image", counted)
    for _ in range(2):
        ours = folder(photos)
        ours.digest()
        ours.columns()
        ours.reference_labels()
        assert len(calls) in (0, 6), "only images need decoding"
        ours.training_images()
        ours.reference_images()
    assert len(calls) == 6


def test_what_is_decoded_is_what_was_digested(photos):
    """Of three studies in a process the second finds an image edited, the third while it runs."""
    first = folder(photos)
    first.digest()
    before = first.training_images()
    save(photos / ORDER[0], 99)
    second, third = folder(photos), folder(photos)
    assert second.digest() == third.digest()
    save(photos / ORDER[0], 98)
    with pytest.raises(DataError, match=r"photos were changed while the study ran; run the same"):
        third.training_images()
    save(photos / ORDER[0], 99)
    assert np.array_equal(as_image(second.training_images()[0]), pixels(99))
    assert first.training_images() is before
    assert np.array_equal(as_image(before[0]), pixels(SEEDS[ORDER[0]]))


# ------------------------------------------------------------------------------ manifests


@pytest.mark.parametrize("name", ["photos.csv", "photos.jsonl", "photos.NDJSON"])
def test_a_manifest_says_who_made_what(name, photos, table):
    ours = folder(photos, manifest=table(rows_of(), name))
    columns = ours.columns()
    for i, path in enumerate(ORDER):
        expected = {
            key: str(value)
            for row in rows_of()
            if row["path"] == path
            for key, value in row.items()
        }
        assert {column: values[i] for column, values in columns.items()} == expected
        assert np.array_equal(as_image(ours.training_images()[i]), pixels(SEEDS[path]))


def test_labels_of_a_manifest_are_those_of_the_reference(photos, table):
    ours = folder(photos, manifest=table(rows_of()))
    assert ours.reference_labels().tolist() == [int(SEEDS[path] % 2 == 0) for path in ORDER]


def test_the_order_and_format_of_the_lines_do_not_matter(photos, table):
    rows = rows_of()
    manifests = [table(rows), table(rows[::-1], "b.csv"), table(rows[2:] + rows[:2], "c.jsonl")]
    assert len({folder(photos, manifest=manifest).digest() for manifest in manifests}) == 1
    captions = [folder(photos, manifest=m).columns()["caption"].tolist() for m in manifests]
    assert captions[0] == captions[1] == captions[2]


def test_only_images_of_the_manifest_count(photos, table):
    ours = folder(photos, manifest=table(rows_of()[:4]))
    assert len(ours.training_images()) == len(ours.columns()["path"]) == 4


def test_spreadsheets_and_missing_values_are_understood(photos, tmp_path):
    text = (
        '\ufeffpath,contributor,place\r\nada/1.png,xu,"Bern, Switzerland"\r\n\r\nbo/1.png,xu,\r\n'
    )
    (tmp_path / "m.csv").write_text(text, encoding="utf-8", newline="")
    ours = folder(photos, manifest=str(tmp_path / "m.csv"))
    assert ours.columns()["place"].tolist() == ["Bern, Switzerland", ""]
    lines = [
        {"path": "./ada/1.png", "contributor": 7, "year": None},
        {"path": "bo/../bo/1.png", "contributor": 7, "share": 0.5},
    ]
    text = "\ufeff" + "\n".join(map(json.dumps, lines))
    (tmp_path / "m.jsonl").write_text(text, encoding="utf-8")
    columns = folder(photos, manifest=str(tmp_path / "m.jsonl")).columns()
    assert {name: values.tolist() for name, values in columns.items()} == {
        "path": ["ada/1.png", "bo/1.png"],
        "contributor": ["7", "7"],
        "year": ["", ""],
        "share": ["", "0.5"],
    }


def test_parquet_is_read(photos, tmp_path):
    parquet.write_table(pyarrow.Table.from_pylist(rows_of()), tmp_path / "m.parquet")
    ours = folder(photos, manifest=str(tmp_path / "m.parquet"))
    assert ours.columns()["path"].tolist() == ORDER
    assert ours.columns()["year"].tolist() == [str(2000 + SEEDS[path]) for path in ORDER]
    early = pyarrow.array([2**60] * len(rows_of()), pyarrow.timestamp("us"))
    dated = pyarrow.Table.from_pylist(rows_of()).append_column("taken", early)
    parquet.write_table(dated, tmp_path / "dated.parquet")
    with pytest.raises(DataError, match=r"dated\.parquet: cannot be read"):
        folder(photos, manifest=str(tmp_path / "dated.parquet")).columns()
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"damaged\.parquet: cannot be read"):
        folder(photos, manifest=str(tmp_path / "damaged.parquet")).columns()


def test_other_tables_are_refused():
    with pytest.raises(ConfigError, match=r"dataset\.manifest: .*\.csv.*got 'photos.xlsx'"):
        folder("photos", manifest="photos.xlsx")


# ------------------------------------------------------------------------------ contracts


def test_both_partitions_deal_the_columns(photos, table):
    columns = folder(photos, manifest=table(rows_of())).columns()
    assert ByLabel("contributor").partition(columns).names == ["xu", "yi"]
    assert ByLabel("label").partition(columns).sizes.tolist() == [3, 3]
    assert len(ByShards(3, 2, "label", 0).partition(columns)) == 3
    by_folder = ByLabel("contributor").partition(folder(photos).columns())
    assert by_folder.names == ["ada", "bo", "cy"]


def test_the_digest_is_of_the_content_and_not_of_place_or_time(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "moved")
    os.utime(tmp_path / "moved/ada/1.png", (0, 0))
    assert folder(tmp_path / "moved").digest() == folder(photos).digest()


def test_the_digest_changes_with_anything_that_is_handed_out(photos, table, tmp_path):
    def changed(name, change):
        shutil.copytree(photos, tmp_path / name)
        change(tmp_path / name)
        return folder(tmp_path / name)

    save(tmp_path / "held/1.png", 20)
    rows = rows_of()
    found = [
        folder(photos),
        changed("pixels", lambda root: save(root / "ada/1.png", 21)),
        changed("name", lambda root: (root / "ada/1.png").rename(root / "ada/0.png")),
        changed("owner", lambda root: (root / "ada").rename(root / "abe")),
        changed("more", lambda root: save(root / "ada/3.png", 22)),
        folder(photos, size=4),
        folder(photos, size=4, channels=1),
        folder(photos, size=4, resize="bicubic"),
        folder(photos, reference=str(tmp_path / "held")),
        folder(photos, manifest=table(rows, "a.csv")),
        folder(photos, manifest=table([{**rows[0], "caption": "x"}, *rows[1:]], "b.csv")),
        folder(photos, manifest=table([{**rows[0], "contributor": "yi"}, *rows[1:]], "c.csv")),
    ]
    assert len({ours.digest() for ours in found}) == len(found)


def test_the_digest_changes_with_the_class_of_a_reference_image_alone(photos, tmp_path):
    found = []
    for place, classes in (("one", "aab"), ("other", "abb")):
        for number, name in enumerate(classes):
            save(tmp_path / place / name / f"{number}.png", number)
        found.append(folder(photos, reference=str(tmp_path / place)))
    assert torch.equal(*(ours.reference_images() for ours in found))
    assert [ours.reference_labels().tolist() for ours in found] == [[0, 0, 1], [0, 1, 1]]
    assert found[0].digest() != found[1].digest()


def test_the_digest_changes_with_the_pixels_of_a_reference_image_alone(photos, tmp_path):
    references = [str(save(tmp_path / str(seed) / "1.png", seed).parent) for seed in (20, 21)]
    assert len({folder(photos, reference=reference).digest() for reference in references}) == 2


def test_of_a_sound_dataset_all_images_are_decoded(photos, monkeypatch):
    monkeypatch.setattr("crediting.datasets.image_files._BESIDE_OTHERS", 1)
    assert len(folder(photos).training_images()) == len(ORDER)


def test_files_that_vanish_before_the_digest_are_named(photos):
    ours = folder(photos)
    ours.columns()
    (photos / "bo/1.png").unlink()
    with pytest.raises(DataError, match=r"bo/1\.png: cannot be read \(No such file"):
        ours.digest()


def test_it_travels_to_workers_without_its_images(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    ours = folder("photos")
    ours.training_images()
    sent = pickle.dumps(ours)
    assert len(sent) < 1000
    monkeypatch.chdir("/")
    assert pickle.loads(sent).columns()["path"].tolist() == ORDER


def test_nothing_is_read_before_it_is_asked_for():
    folder("there/is/no/such/folder", manifest="nor.csv", reference="nor/this")


def test_columns_may_be_changed(photos):
    folder(photos).columns()["contributor"][:] = "me"
    assert "me" not in folder(photos).columns()["contributor"]


def test_images_of_three_formats_can_be_mixed(tmp_path):
    for i, name in enumerate(("a/1.jpg", "a/2.webp", "b/1.png", "b/2.gif")):
        save(tmp_path / name, i, 16, 16)
    images = folder(tmp_path).training_images()
    jpeg = np.asarray(Image.open(tmp_path / "a/1.jpg"))
    assert np.array_equal(as_image(images[0]), jpeg)
    assert images.shape == (4, 3, 16, 16)


def test_file_names_need_not_be_text(tmp_path):
    for i, name in enumerate((b"a/1.png", b"a/\xff.png", b"b/1.png", b"b/2.png")):
        save(tmp_path / os.fsdecode(name), i)
    ours = folder(tmp_path)
    assert ours.columns()["path"].tolist()[1] == os.fsdecode(b"a/\xff.png")
    assert np.array_equal(as_image(ours.training_images()[1]), pixels(1))
    assert len(ours.digest()) == 64
