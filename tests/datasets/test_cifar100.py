import codecs
import hashlib
import os
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR100

from crediting.assets import assets_of
from crediting.datasets import Cifar100, cifar_files
from crediting.datasets.pickled import PickleRefusedError, arrays_and_containers
from crediting.errors import ConfigError, DataError
from crediting.partitions import ByLabel, ByShards

NAMES = ["apple", "bear", "clock", "lion", "rose"]


def write(root, protocol=2):
    """Write the three files at miniature size, 4 training and 2 test images per class."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, n_each in (("train", 4), ("test", 2)):
        labels = random.permutation(np.repeat(np.arange(len(NAMES)), n_each))
        held = {
            "filenames": [f"image_s_{i:06d}.png" for i in range(len(labels))],
            "batch_label": f"{part}ing batch 1 of 1",
            "fine_labels": [int(label) for label in labels],
            "coarse_labels": [0] * len(labels),
            "data": random.integers(0, 256, (len(labels), 3072), dtype=np.uint8),
        }
        (folder / part).write_bytes(pickle.dumps(held, protocol))
    meta = {"fine_label_names": NAMES, "coarse_label_names": ["things"]}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol))
    return folder


def md5(file):
    return hashlib.md5(file.read_bytes()).hexdigest()


def dataset(root, classes=None, checksums=False):
    return Cifar100(str(root), classes, checksums)


@pytest.fixture
def root(tmp_path):
    write(tmp_path)
    return tmp_path


@pytest.fixture
def torchvisions(root):
    """What torchvision reads from the same files: (train, test)."""

    class Miniature(CIFAR100):
        train_list, test_list, meta = (
            [["train", md5(root / "cifar-100-python/train")]],
            [["test", md5(root / "cifar-100-python/test")]],
            {**CIFAR100.meta, "md5": md5(root / "cifar-100-python/meta")},
        )

    return Miniature(root, train=True), Miniature(root, train=False)


def test_images_and_labels_are_those_that_torchvision_reads(root, torchvisions):
    train, test = torchvisions
    ours = dataset(root)
    assert np.array_equal(ours.training_images().permute(0, 2, 3, 1).numpy(), train.data)
    assert np.array_equal(ours.reference_images().permute(0, 2, 3, 1).numpy(), test.data)
    assert ours.columns()["label"].tolist() == [train.classes[label] for label in train.targets]
    assert ours.reference_labels().tolist() == test.targets
    assert ours.training_images().dtype == torch.uint8


def test_classes_are_chosen_by_name_and_counted_in_alphabetical_order(root, torchvisions):
    train, test = torchvisions
    ours = dataset(root, ["rose", "bear"])
    kept = [i for i, label in enumerate(train.targets) if NAMES[label] in ("bear", "rose")]
    assert np.array_equal(ours.training_images().permute(0, 2, 3, 1).numpy(), train.data[kept])
    assert ours.columns()["contributor"].tolist() == [NAMES[train.targets[i]] for i in kept]
    tested = [NAMES[label] for label in test.targets if NAMES[label] in ("bear", "rose")]
    assert ours.reference_labels().tolist() == [["bear", "rose"].index(name) for name in tested]
    assert len(ours.reference_images()) == len(tested) == 4


def test_the_order_of_the_classes_does_not_matter(root):
    one, other = dataset(root, ["rose", "bear"]), dataset(root, ["bear", "rose"])
    assert one.digest() == other.digest()
    assert np.array_equal(one.reference_labels(), other.reference_labels())


def test_all_classes_by_name_are_the_same_as_none(root):
    assert dataset(root, NAMES[::-1]).digest() == dataset(root).digest()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickles_of_newer_pythons_are_read_too(protocol, root, tmp_path):
    write(tmp_path / "other", protocol)
    assert torch.equal(
        dataset(tmp_path / "other").training_images(), dataset(root).training_images()
    )


def as_python_2_wrote_it(held):
    """Return a pickle of a dict as Python 2 made the published files: text is bytes."""

    def written(value):
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            return b"T" + struct.pack("<i", len(value)) + value
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"](" + b"".join(map(written, value)) + b"e"
        rows, width = value.shape
        kind = b"cnumpy\ndtype\n(" + written("u1") + b"K\x00K\x01tR"
        kind += b"(K\x03" + written("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"(" + written(rows) + written(width) + b"t"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + written("b")
        return empty + b"tR(K\x01" + shape + kind + b"I00\n" + written(value.tobytes()) + b"tb"

    cells = b"".join(written(key) + written(value) for key, value in held.items())
    return b"\x80\x02}(" + cells + b"u."


def test_pickles_of_python_2_are_read_as_the_published_ones_are(root, tmp_path):
    folder = tmp_path / "old/cifar-100-python"
    folder.mkdir(parents=True)
    for name in cifar_files.FILES:
        held = pickle.loads((root / "cifar-100-python" / name).read_bytes())
        (folder / name).write_bytes(as_python_2_wrote_it(held))
        assert pickle.loads((folder / name).read_bytes(), encoding="latin1").keys() == held.keys()
    old, new = dataset(tmp_path / "old"), dataset(root)
    assert torch.equal(old.training_images(), new.training_images())
    assert old.columns()["label"].tolist() == new.columns()["label"].tolist()
    assert np.array_equal(old.reference_labels(), new.reference_labels())


def test_both_partitions_deal_the_columns(root):
    columns = dataset(root).columns()
    by_class = ByLabel("contributor").partition(columns)
    assert by_class.names == NAMES
    assert by_class.sizes.tolist() == [4] * 5
    assert len(ByShards(4, 2, "label", 0).partition(columns)) == 4


# ------------------------------------------------------------------------------ digest


def test_the_digest_is_of_the_content_and_the_classes(root, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(root / "cifar-100-python", moved / "cifar-100-python")
    os.utime(moved / "cifar-100-python/train", (0, 0))
    assert dataset(moved).digest() == dataset(root).digest()
    assert dataset(root, ["bear", "rose"]).digest() != dataset(root).digest()
    for name in ("train", "test", "meta"):
        changed = tmp_path / f"changed {name}"
        shutil.copytree(root / "cifar-100-python", changed / "cifar-100-python")
        with (changed / "cifar-100-python" / name).open("ab") as stream:
            stream.write(b"\0")
        assert dataset(changed).digest() != dataset(root).digest()


def test_what_is_handed_out_may_be_changed(root):
    ours = dataset(root)
    before = ours.training_images().clone(), ours.reference_labels().copy()
    ours.training_images().zero_()
    ours.reference_labels()[:] = 0
    assert torch.equal(ours.training_images(), before[0])
    assert np.array_equal(ours.reference_labels(), before[1])


def test_it_travels_to_workers_without_its_images(root):
    ours = dataset(root)
    ours.training_images()
    sent = pickle.dumps(ours)
    assert len(sent) < 1000
    assert pickle.loads(sent).digest() == ours.digest()


# ------------------------------------------------------------------------------ checks


def test_only_the_published_files_are_read(root):
    with pytest.raises(DataError, match=r"meta: expected the published file, md5 7973b15100ade9"):
        dataset(root, checksums=True).columns()


def test_published_files_are_told_by_torchvisions_own_digests(root, monkeypatch):
    for name, digest in (("train", "16019d7e"), ("test", "f0ef6b0a"), ("meta", "7973b151")):
        assert cifar_files._published()[name].startswith(digest)
    real = {name: md5(root / "cifar-100-python" / name) for name in cifar_files.FILES}
    monkeypatch.setattr(cifar_files, "_published", lambda: real)
    checked = dataset(root, checksums=True)
    assert torch.equal(checked.training_images(), dataset(root).training_images())
    assert checked.digest() == dataset(root).digest()


def test_what_is_not_there_can_be_fetched(tmp_path):
    asset = assets_of(dataset(tmp_path / "nowhere"))["root"]
    assert asset.url == CIFAR100.url
    assert asset.md5 == CIFAR100.tgz_md5
    with pytest.raises(DataError, match=r"dataset\.root: the data set CIFAR-100 is not here"):
        dataset(tmp_path / "nowhere").columns()


def test_a_missing_file_is_named(root):
    (root / "cifar-100-python/test").unlink()
    with pytest.raises(DataError, match=r"cifar-100-python/test: cannot be read \(No such file"):
        dataset(root).digest()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["lion", "bera"], "there is no class 'bera'; did you mean bear?"),
        (["12345"], "there is no class '12345'; known: apple, bear, clock, lion, rose"),
        ([], "expected names of classes, or null"),
        (["lion", "lion", "bear"], r"expected every class once, got twice: \['lion'\]"),
    ],
)
def test_bad_classes_are_refused(classes, message, root):
    with pytest.raises(ConfigError, match=r"dataset\.classes: " + message):
        dataset(root, classes).columns()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1], "expected a mapping"),
        ({}, "expected `fine_labels`, a list of integers"),
        ({"fine_labels": ["0"], "data": np.zeros((1, 3072), np.uint8)}, "expected `fine_labels`"),
        ({"fine_labels": [2**70], "data": np.zeros((1, 3072), np.uint8)}, "integers from 0 to 99"),
        ({"fine_labels": [-1], "data": np.zeros((1, 3072), np.uint8)}, "integers from 0 to 99"),
        ({"fine_labels": [0], "data": [0] * 3072}, "expected `data`, an array of uint8"),
        ({"fine_labels": [0], "data": np.zeros((1, 3072))}, "expected `data`, an array of uint8"),
        (
            {"fine_labels": [0], "data": np.zeros((2, 3072), np.uint8)},
            r"3072 values for each of the 1 labels, got an array of shape \(2, 3072\)",
        ),
        (
            {"fine_labels": [7], "data": np.zeros((1, 3072), np.uint8)},
            "expected labels below 5, got 7",
        ),
    ],
)
def test_files_of_another_form_are_refused(held, message, root):
    (root / "cifar-100-python/train").write_bytes(pickle.dumps(held, 2))
    with pytest.raises(DataError, match=f"train: .*{message}"):
        dataset(root).training_images()


@pytest.mark.parametrize("part", ["train", "test"])
def test_what_is_wrong_with_either_part_is_told_with_the_digest(part, root):
    (root / "cifar-100-python" / part).write_bytes(b"<html>")
    with pytest.raises(DataError, match=f"{part}: not read, because it is damaged"):
        dataset(root).digest()


# ------------------------------------------------------------------------------ hostile files


class Calls:
    """Pickled, it is a call that unpickling makes."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("part", ["train", "test", "meta"])
def test_a_file_that_would_run_a_command_is_refused(part, root, tmp_path):
    proof = tmp_path / "it ran"
    hostile = pickle.dumps({"fine_labels": [], "data": Calls(os.system, f"touch '{proof}'")}, 2)
    (root / "cifar-100-python" / part).write_bytes(hostile)
    with pytest.raises(DataError, match=rf"{part}: not read, because it asks for posix\.system"):
        [dataset(root).columns(), dataset(root).reference_images()]
    assert not proof.exists()
    pickle.loads(hostile)  # nothing but the refusal was in its way
    assert proof.exists()


@pytest.mark.parametrize(
    "call",
    [
        Calls(eval, "1"),
        Calls(exec, ""),
        Calls(getattr, "", "join"),
        Calls(open, "/dev/null"),
        Calls(__import__, "os"),
        Calls(np.fromstring, "1", float, -1, " "),
    ],
)
def test_nothing_but_arrays_can_be_asked_for(call):
    with pytest.raises(PickleRefusedError, match="it asks for"):
        arrays_and_containers(pickle.dumps(call, 2))


def test_only_the_one_encoding_that_arrays_use_can_be_asked_for():
    with pytest.raises(PickleRefusedError, match="asks for the encoding 'rot13'"):
        arrays_and_containers(pickle.dumps(Calls(codecs.encode, "a", "rot13"), 2))


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02}q", b"\x80\xff."])
def test_damaged_pickles_are_refused(content):
    with pytest.raises(PickleRefusedError, match="damaged"):
        arrays_and_containers(content)


def test_a_published_digest_is_checked_before_anything_is_unpickled(root, monkeypatch):
    def never(content):
        raise AssertionError("unpickled too early")

    monkeypatch.setattr(cifar_files, "arrays_and_containers", never)
    with pytest.raises(DataError, match="expected the published file"):
        dataset(root, checksums=True).training_images()
