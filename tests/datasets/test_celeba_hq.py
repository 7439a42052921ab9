import csv
import os
import pickle
import random

import numpy as np
import pytest
import torch
from picture_files import as_image, pixels, save
from PIL import Image

from crediting.assets import assets_of
from crediting.datasets import CelebaHQ
from crediting.errors import ConfigError, DataError
from crediting.partitions import ByLabel

# celebrity, id of the image, split, seed of its pixels; file names sort otherwise than numbers
PHOTOGRAPHS = [
    (17, 300, "train", 1),
    (17, 41, "test", 2),
    (104, 5, "train", 3),
    (104, 77, "train", 4),
    (63, 9, "test", 5),
]
ORDER = ["104_5.jpg", "104_77.jpg", "17_300.jpg", "17_41.jpg", "63_9.jpg"]
CELEBRITIES = [17, 104, 63]


def resized(root, rows=None, size=16):
    """Write the layout that the authors made: files in any order, labels.csv in any other."""
    folder = root / "celeba_hq_256_50_resized"
    for celebrity, number, _, seed in random.Random(1).sample(PHOTOGRAPHS, 5):
        save(folder / f"{celebrity}_{number}.jpg", seed, size, size)
    listed = rows or [(f"{c}_{n}.jpg", c, split) for c, n, split, _ in PHOTOGRAPHS]
    with (folder / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("filename", "celeb", "split"), *listed])
    return root


def published(root, height=16, width=16):
    """Write the layout of the published zip."""
    for celebrity, number, split, seed in PHOTOGRAPHS:
        folder = root / "CelebA_HQ_facial_identity_dataset" / split / str(celebrity)
        save(folder / f"{number}.jpg", seed, height, width)
    return root


def faces(root, celebrities=CELEBRITIES, size=16, reference=None):
    return CelebaHQ(str(root), celebrities, size, reference)


@pytest.mark.parametrize("write", [resized, published])
def test_both_layouts_give_the_same_rows(write, tmp_path):
    ours = faces(write(tmp_path))
    columns, images = ours.columns(), ours.training_images()
    assert columns["file"].tolist() == ORDER
    assert columns["contributor"].tolist() == ["104", "104", "17", "17", "63"]
    folder = tmp_path / "expected"
    seeds = {f"{c}_{n}.jpg": seed for c, n, _, seed in PHOTOGRAPHS}
    for name, image in zip(columns["file"], images, strict=True):
        stored = np.asarray(Image.open(save(folder / name, seeds[name], 16, 16)))
        assert np.array_equal(as_image(image), stored)
    assert ByLabel("contributor").partition(columns).names == ["104", "17", "63"]


def test_of_both_layouts_the_resized_one_is_read(tmp_path):
    published(resized(tmp_path, size=4))
    assert faces(tmp_path, size=None).training_images().shape == (5, 3, 4, 4)


def test_labels_go_by_file_name_whatever_the_order_of_labels_csv(tmp_path):
    rows = [(f"{c}_{n}.jpg", c, split) for c, n, split, _ in PHOTOGRAPHS]
    found = [
        faces(resized(tmp_path / str(turn), random.Random(turn).sample(rows, 5)))
        for turn in range(4)
    ]
    assert len({ours.digest() for ours in found}) == 1
    for ours in found:
        assert ours.columns()["contributor"].tolist() == ["104", "104", "17", "17", "63"]
        assert torch.equal(ours.training_images(), found[0].training_images())


def test_only_the_chosen_celebrities_are_read(tmp_path):
    ours = faces(resized(tmp_path), [63, 17])
    assert ours.columns()["file"].tolist() == ORDER[2:]
    assert len(ours.training_images()) == 3
    assert ours.digest() == faces(tmp_path, [17, 63]).digest() != faces(tmp_path).digest()


def test_photographs_of_other_shapes_are_scaled_and_cropped(tmp_path):
    ours = faces(published(tmp_path, 20, 30), size=8)
    assert ours.training_images().shape == (5, 3, 8, 8)
    file = tmp_path / "CelebA_HQ_facial_identity_dataset/train/104/5.jpg"
    whole = Image.open(file).resize((12, 8), Image.Resampling.LANCZOS).crop((2, 0, 10, 8))
    found = as_image(ours.training_images()[0]).astype(int)
    assert np.abs(found - np.asarray(whole)).max() <= 1


def test_without_a_reference_the_training_images_serve(tmp_path):
    ours = faces(resized(tmp_path))
    assert torch.equal(ours.reference_images(), ours.training_images())
    assert ours.reference_labels() is None


def test_a_reference_folder_is_resized_alike(tmp_path):
    save(tmp_path / "held/b.png", 8, 16, 16)
    save(tmp_path / "held/a.png", 9, 16, 16)
    save(tmp_path / "held/c.png", 9, 50, 40)
    ours = faces(resized(tmp_path), reference=str(tmp_path / "held"))
    images = ours.reference_images()
    assert images.shape == (3, 3, 16, 16)
    assert np.array_equal(as_image(images[0]), pixels(9, 16, 16))
    assert ours.reference_labels() is None
    assert ours.digest() != faces(tmp_path).digest()


def test_the_digest_is_of_the_content(tmp_path):
    one, moved = faces(resized(tmp_path / "one")), faces(resized(tmp_path / "two"))
    assert one.digest() == moved.digest() != faces(tmp_path / "one", size=8).digest()
    save(tmp_path / "two/celeba_hq_256_50_resized/63_9.jpg", 99, 16, 16)
    assert moved.digest() != one.digest()


def test_it_travels_to_workers_without_its_images(tmp_path):
    ours = faces(resized(tmp_path))
    ours.training_images()
    sent = pickle.dumps(ours)
    assert len(sent) < 1000
    assert pickle.loads(sent).digest() == ours.digest()


# ------------------------------------------------------------------------------ checks


def test_what_is_not_there_must_be_got_by_hand(tmp_path):
    asset = assets_of(faces(tmp_path))["root"]
    assert asset.member == "CelebA_HQ_facial_identity_dataset"
    with pytest.raises(DataError, match=r"dataset\.root: .*by hand.*Unpack the zip so that"):
        faces(tmp_path).columns()
    assert assets_of(faces(published(tmp_path)))["root"].find() == tmp_path
    assert assets_of(faces(resized(tmp_path)))["root"].member == "celeba_hq_256_50_resized"


def test_unknown_celebrities_are_named_with_the_nearest(tmp_path):
    with pytest.raises(DataError) as caught:
        faces(resized(tmp_path), [17, 105, 9]).columns()
    lines = str(caught.value).splitlines()[1:]
    assert "no photograph of 105 in" in lines[0]
    assert lines[0].endswith("did you mean 104?")
    assert lines[1].endswith("known: 104, 17, 63")


@pytest.mark.parametrize("celebrities", [[], [17, 17], [17, "17"]])
def test_celebrities_must_be_different_ones(celebrities):
    with pytest.raises(ConfigError, match=r"dataset\.celebrities: expected different numbers"):
        faces("nowhere", celebrities)


def test_labels_that_contradict_the_file_names_are_refused(tmp_path):
    rows = [(f"{c}_{n}.jpg", c, split) for c, n, split, _ in PHOTOGRAPHS]
    shifted = [
        (name, celebrity, s)
        for (name, _, s), (_, celebrity, _) in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    with pytest.raises(DataError, match=r"labels\.csv line 3: 17_41\.jpg should begin with 104_"):
        faces(resized(tmp_path, shifted)).columns()


def test_all_problems_are_told_together(tmp_path):
    folder = resized(tmp_path) / "celeba_hq_256_50_resized"
    (folder / "63_9.jpg").unlink()
    (folder / "104_5.jpg").write_text("no image")
    with pytest.raises(DataError) as caught:
        faces(tmp_path, [17, 104, 63, 1]).columns()
    message = str(caught.value)
    for part in (
        "no photograph of 1 ",
        "63_9.jpg: there is no such file",
        "104_5.jpg: is no image",
    ):
        assert part in message


def test_what_lies_outside_or_is_no_file_is_not_opened(tmp_path):
    folder = resized(tmp_path / "root") / "celeba_hq_256_50_resized"
    outside = tmp_path / "outside.jpg"
    os.mkfifo(outside)  # to open it would mean to wait for ever
    (folder / "63_9.jpg").unlink()
    os.mkfifo(folder / "63_9.jpg")
    (folder / "104_5.jpg").unlink()
    (folder / "104_5.jpg").symlink_to(outside)
    with pytest.raises(DataError) as caught:
        faces(tmp_path / "root").training_images()
    _, *problems = str(caught.value).splitlines()
    assert len(problems) == 2
    assert "104_5.jpg: lies outside" in problems[0]
    assert "63_9.jpg: is no regular file" in problems[1]


def test_a_photograph_of_both_splits_is_refused(tmp_path):
    published(tmp_path)
    save(tmp_path / "CelebA_HQ_facial_identity_dataset/test/104/5.jpg", 7)
    with pytest.raises(
        DataError,
        match=r"train/104/5\.jpg: is there twice, as .*test/104/5\.jpg|"
        r"test/104/5\.jpg: is there twice, as .*train/104/5\.jpg",
    ):
        faces(tmp_path).columns()


def test_labels_csv_with_other_columns_is_refused(tmp_path):
    resized(tmp_path)
    file = tmp_path / "celeba_hq_256_50_resized/labels.csv"
    file.write_text(file.read_text().replace("celeb,", "celebrity,"))
    with pytest.raises(DataError, match=r"no column 'celeb'; did you mean celebrity\?"):
        faces(tmp_path).columns()
