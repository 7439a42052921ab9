import pickle
import random
import shutil

import numpy as np
import pytest
import torch
from picture_files import as_image, pixels, save
from PIL import Image

from crediting.assets import assets_of
from crediting.datasets import ArtBench
from crediting.errors import ConfigError, DataError
from crediting.partitions import ByLabel, ByShards

CAPTION = "a Post-Impressionist painting"
PAINTINGS = {
    "paul-cezanne_apples-1890.jpg": 1,
    "paul-cezanne_the_bathers.jpg": 2,
    "vincent-van-gogh_irises(1).jpg": 3,
    "edouard-cortès_paris.jpg": 4,
}
ORDER = sorted(PAINTINGS)


@pytest.fixture
def root(tmp_path):
    split = tmp_path / "artbench-10-imagefolder-split"
    for name, seed in random.Random(0).sample(sorted(PAINTINGS.items()), 4):
        save(split / "train/post_impressionism" / name, seed, 16, 16)
    for i, name in enumerate(("z_1.jpg", "a_2.jpg")):
        save(split / "test/post_impressionism" / name, 10 + i, 16, 16)
        save(split / "train/impressionism" / name, 20 + i, 16, 16)
        save(split / "test/impressionism" / name, 30 + i, 16, 16)
    return tmp_path


def paintings(root, style="post_impressionism", caption=CAPTION, size=16, reference=None):
    return ArtBench(str(root), style, caption, size, reference)


def stored(root, split, name):
    folder = root / "artbench-10-imagefolder-split" / split / "post_impressionism"
    return np.asarray(Image.open(folder / name))


def test_artists_are_read_off_the_file_names_and_rows_are_aligned(root):
    ours = paintings(root)
    columns = ours.columns()
    assert columns["file"].tolist() == ORDER
    assert columns["contributor"].tolist() == [
        "edouard-cortès",
        "paul-cezanne",
        "paul-cezanne",
        "vincent-van-gogh",
    ]
    assert columns["caption"].tolist() == [CAPTION] * 4
    assert columns["style"].tolist() == ["post_impressionism"] * 4
    for name, image in zip(ORDER, ours.training_images(), strict=True):
        assert np.array_equal(as_image(image), stored(root, "train", name))
    by_artist = ByLabel("contributor").partition(columns)
    assert by_artist.names == ["edouard-cortès", "paul-cezanne", "vincent-van-gogh"]
    assert by_artist.sizes.tolist() == [1, 2, 1]
    assert len(ByShards(2, 2, "contributor", 0).partition(columns)) == 2


def test_the_reference_is_the_test_split_of_the_style(root):
    found = [as_image(image) for image in paintings(root).reference_images()]
    assert np.array_equal(found, [stored(root, "test", name) for name in ("a_2.jpg", "z_1.jpg")])
    assert paintings(root).reference_labels() is None


def test_a_reference_folder_takes_its_place(root, tmp_path):
    save(tmp_path / "held/1.png", 5, 16, 16)
    ours = paintings(root, reference=str(tmp_path / "held"))
    assert np.array_equal(as_image(ours.reference_images()[0]), pixels(5, 16, 16))
    assert len(ours.reference_images()) == 1


def test_another_style_has_other_paintings(root):
    ours = paintings(root, style="impressionism")
    assert ours.columns()["contributor"].tolist() == ["a", "z"]
    assert ours.digest() != paintings(root).digest()


def test_images_are_brought_to_size(root):
    assert paintings(root, size=8).training_images().shape == (4, 3, 8, 8)


def test_the_digest_is_of_the_content_and_the_settings(root, tmp_path):
    shutil.copytree(
        root / "artbench-10-imagefolder-split", tmp_path / "b/artbench-10-imagefolder-split"
    )
    moved = paintings(tmp_path / "b")
    digests = {paintings(root).digest()}
    assert moved.digest() in digests
    digests |= {paintings(root, size=8).digest(), paintings(root, caption="a painting").digest()}
    held_out = tmp_path / "b/artbench-10-imagefolder-split/test/post_impressionism/a_2.jpg"
    save(held_out, 99, 16, 16)
    assert len(digests | {moved.digest()}) == 4


def test_it_travels_to_workers_without_its_images(root):
    ours = paintings(root)
    before = ours.training_images()
    sent = pickle.dumps(ours)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).training_images(), before)


def test_what_is_not_there_can_be_fetched(tmp_path):
    asset = assets_of(paintings(tmp_path))["root"]
    assert asset.url.endswith("/files/artbench-10-imagefolder-split.tar")
    with pytest.raises(DataError, match=r"dataset\.root: the data set ArtBench-10 is not here"):
        paintings(tmp_path).columns()


def test_unknown_styles_are_refused_with_the_nearest(root):
    with pytest.raises(ConfigError, match=r"dataset\.style: .*did you mean post_impressionism\?"):
        paintings(root, style="post-impressionism").columns()


@pytest.mark.parametrize("name", ["unknown.jpg", "_untitled.jpg"])
def test_paintings_without_an_artist_are_named(name, root):
    save(root / "artbench-10-imagefolder-split/train/post_impressionism" / name, 9, 16, 16)
    with pytest.raises(DataError, match=rf"{name}: expected <artist>_<title>\.jpg"):
        paintings(root).columns()


def test_a_damaged_painting_of_the_test_split_is_found_before_training(root):
    (root / "artbench-10-imagefolder-split/test/post_impressionism/a_2.jpg").write_text("?")
    with pytest.raises(DataError, match=r"test/post_impressionism/a_2\.jpg: is no image"):
        paintings(root).training_images()
