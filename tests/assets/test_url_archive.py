"""Published archives, and folders got by hand: whole or not there, never outside the folder."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from crediting.assets import ByHand, UrlArchive, url_archive
from crediting.assets.digests import files_below, folder_digest
from crediting.assets.messages import NotFetchedError
from crediting.errors import DataError

FILES = {"images/train": b"1" * 3000, "images/test": b"2" * 1000, "LICENCE": b"free"}


def asset(url, content, folder, member="images/train"):
    return UrlArchive(
        what="a data set",
        url=url,
        md5=None if content is None else hashlib.md5(content).hexdigest(),
        size=1_600_000_000,
        licence="fair use",
        key="dataset.root",
        folder=folder,
        member=member,
    )


def by_hand(folder, member="train"):
    return ByHand(
        what="the faces",
        source="https://example.org/faces",
        size=527_000_000,
        licence="non-commercial",
        key="dataset.root",
        folder=folder,
        member=member,
        instructions="Unpack faces.zip there.",
    )


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("member", ["images/train", "images"])
def test_it_is_fetched_unpacked_and_left_alone_afterwards(
    site, tmp_path, make_tar, make_zip, kind, member
):
    content = make_tar(FILES) if kind == "tar" else make_zip(FILES)
    data = asset(site.put("data.archive", content), content, tmp_path / "a" / "data", member)
    with pytest.raises(NotFetchedError):
        data.find()
    assert site.asked == []
    assert data.fetch() == tmp_path / "a" / "data" == data.find() == data.fetch()
    assert entries(data.folder) == ["LICENCE", "images", "images/test", "images/train"]
    assert {name: (data.folder / name).read_bytes() for name in FILES} == FILES
    assert len(site.asked) == 1


def test_other_things_in_the_folder_stay(site, tmp_path, make_tar):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    content = make_tar(FILES)
    asset(site.put("data.tgz", content), content, tmp_path / "data").fetch()
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"


def test_what_is_in_the_way_is_neither_used_nor_removed(site, tmp_path, make_tar):
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "images" / "test").write_text("half unpacked")
    content = make_tar(FILES)
    with pytest.raises(DataError, match=r"dataset\.root: .*data/images is in the way"):
        asset(site.put("data.tgz", content), content, tmp_path / "data").fetch()
    assert entries(tmp_path / "data") == ["images", "images/test"]


def test_an_empty_folder_is_no_data_set(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    with pytest.raises(NotFetchedError):
        asset("https://example.org/data.tgz", None, tmp_path / "data", "images").find()


def test_the_message_names_key_place_source_size_licence_and_what_to_do(tmp_path):
    with pytest.raises(NotFetchedError) as error:
        asset("https://example.org/data.tgz", None, tmp_path / "data").find()
    message = str(error.value)
    assert message.startswith("dataset.root: a data set is not here")
    assert str(tmp_path / "data" / "images" / "train") in message
    assert "https://example.org/data.tgz, 1.6 GB, licence fair use" in message
    assert "dataset.root=<folder>" in message


def test_a_wrong_checksum_leaves_nothing_and_says_what_came(site, tmp_path, make_tar):
    content = make_tar(FILES)
    with pytest.raises(DataError) as error:
        asset(site.put("data.tgz", content), b"other", tmp_path / "data").fetch()
    expected, got = hashlib.md5(b"other").hexdigest(), hashlib.md5(content).hexdigest()
    assert f"expected md5 {expected}, got {got}" in str(error.value)
    assert entries(tmp_path / "data") == []


@pytest.mark.parametrize("url", ["truncated/data.tgz", "gone.tgz"])
def test_a_failed_download_leaves_nothing(site, tmp_path, url):
    with pytest.raises(DataError, match=r"dataset\.root: a data set could not be fetched"):
        asset(f"{site.address}/{url}", None, tmp_path / "data").fetch()
    assert entries(tmp_path / "data") == []


@pytest.mark.parametrize(
    "content", [b"no archive at all", b"", b"PK\x03\x04 broken", b"\x1f\x8b\x08 broken"]
)
def test_what_is_no_archive_leaves_nothing(site, tmp_path, content):
    with pytest.raises(DataError, match=r"dataset\.root"):
        asset(site.put("data.tgz", content), content, tmp_path / "data").fetch()
    assert entries(tmp_path / "data") == []


def test_a_damaged_archive_leaves_nothing(site, tmp_path, make_tar):
    whole = make_tar({"images/train": b"1", "images/test": os.urandom(200_000)})
    content = whole[: len(whole) // 2]
    with pytest.raises(DataError, match=r"dataset\.root"):
        asset(site.put("data.tgz", content), content, tmp_path / "data").fetch()
    assert entries(tmp_path / "data") == []


def test_an_archive_without_the_member_leaves_nothing(site, tmp_path, make_tar):
    content = make_tar({"else/train": b"1"})
    with pytest.raises(DataError, match="holds no images/train"):
        asset(site.put("data.tgz", content), content, tmp_path / "data").fetch()
    assert entries(tmp_path / "data") == []


@pytest.mark.parametrize(
    "hostile",
    [
        {"../escaped": b"x"},
        {"images/../../../escaped": b"x"},
        {"link": ("link", "../../.."), "link/escaped": b"x"},
        {"link": ("link", "/etc/passwd")},
    ],
)
def test_a_hostile_tar_is_refused_as_a_whole(site, tmp_path, make_tar, hostile):
    (tmp_path / "inside").mkdir()
    content = make_tar({**FILES, **hostile})
    data = asset(site.put("data.tgz", content), content, tmp_path / "inside" / "data")
    with pytest.raises(DataError, match=r"outside|absolute"):
        data.fetch()
    assert entries(data.folder) == []
    assert list(tmp_path.rglob("escaped")) == []


def test_an_absolute_path_in_a_tar_lands_inside(site, tmp_path, make_tar):
    target = tmp_path / "elsewhere"
    content = make_tar({**FILES, str(target): b"x"})
    data = asset(site.put("data.tgz", content), content, tmp_path / "data")
    data.fetch()
    assert not target.exists()
    assert (data.folder / str(target).lstrip("/")).read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/tmp/escaped-from-a-test"])
def test_a_hostile_zip_is_refused_as_a_whole(site, tmp_path, make_zip, name):
    content = make_zip({**FILES, name: b"x"})
    data = asset(site.put("data.zip", content), content, tmp_path / "inside" / "data")
    with pytest.raises(DataError, match="outside the destination"):
        data.fetch()
    assert not Path("/tmp/escaped-from-a-test").exists()
    assert entries(data.folder) == []
    assert list(tmp_path.rglob("escaped")) == []


def test_an_interruption_leaves_nothing_that_looks_complete(site, tmp_path, make_tar, monkeypatch):
    content = make_tar(FILES)
    data = asset(site.put("data.tgz", content), content, tmp_path / "data")
    moved, rename = [], Path.rename

    def rename_once(self, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(target.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_once)
    with pytest.raises(KeyboardInterrupt):
        data.fetch()
    assert moved == ["LICENCE"]
    with pytest.raises(NotFetchedError):
        data.find()


def test_two_processes_may_fetch_at_once(site, tmp_path, make_tar, monkeypatch):
    content = make_tar(FILES)
    data = asset(site.put("data.tgz", content), content, tmp_path / "data")
    unpack, other = url_archive.unpack, []

    def unpack_after_the_other(*arguments):
        unpack(*arguments)
        if not other:
            other.append(True)
            data.fetch()

    monkeypatch.setattr(url_archive, "unpack", unpack_after_the_other)
    assert data.fetch() == tmp_path / "data"
    assert len(site.asked) == 2
    assert [path.name for path in sorted((tmp_path / "data").iterdir())] == ["LICENCE", "images"]


def test_digests_depend_on_names_and_bytes_but_not_on_the_place(tmp_path):
    def digest(folder, member="images"):
        digests = {
            asset("https://example.org/data.tgz", None, folder, member).digest(),
            by_hand(folder, member).digest(),
        }
        assert len(digests) == 1
        return digests.pop()

    first = tmp_path / "first"
    (first / "images" / "sub").mkdir(parents=True)
    (first / "images" / "a").write_bytes(b"1")
    (first / "images" / "sub" / "b").write_bytes(b"2")
    second = shutil.copytree(first, tmp_path / "somewhere" / "else")
    original = digest(first)
    assert digest(second) == original
    (second / "beside").write_bytes(b"not below the member")
    assert digest(second) == original
    (second / "images" / "a").write_bytes(b"3")
    assert digest(second) != original
    (second / "images" / "a").write_bytes(b"1")
    (second / "images" / "a").rename(second / "images" / "c")
    assert digest(second) != original
    assert digest(first, "images/a") == hashlib.sha256(b"1").hexdigest()


@pytest.fixture
def two_folders(tmp_path):
    """Return two folders with an image each, in one that `by_hand` finds."""
    made = [tmp_path / "train" / name for name in "ab"]
    for folder in made:
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(folder.name.encode())
    return made


def test_links_back_up_are_not_followed_for_ever(tmp_path, two_folders):
    plain = by_hand(tmp_path).digest()
    for folder in two_folders:
        (folder / "up").symlink_to("..")
    assert by_hand(tmp_path).digest() == plain


def test_links_across_are_followed_once(tmp_path, two_folders):
    for folder, other in zip(two_folders, reversed(two_folders), strict=True):
        for number in range(3):
            (folder / f"across-{number}").symlink_to(other)
    assert set(files_below(tmp_path / "train")) == {
        *("a/1.png", "b/1.png"),
        *(f"{name}/across-{number}/1.png" for name in "ab" for number in range(3)),
    }


def test_what_is_got_by_hand_says_what_to_do(tmp_path):
    faces = by_hand(tmp_path)
    for method in (faces.find, faces.fetch, faces.digest):
        with pytest.raises(DataError) as error:
            method()
        assert not isinstance(error.value, NotFetchedError)
        message = str(error.value)
        assert message.startswith("dataset.root: the faces is not here")
        assert "https://example.org/faces, 527 MB, licence non-commercial" in message
        assert "Unpack faces.zip there." in message
        assert "dataset.root=<folder>" in message
        assert "stage=fetch" not in message
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "face.jpg").write_bytes(b"1")
    assert faces.find() == faces.fetch() == tmp_path


def test_a_digest_is_of_visible_files_whatever_the_order_of_the_disk(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / name).write_text(name)
    listed = files_below(tmp_path)
    whole = folder_digest(listed)
    assert folder_digest(dict(reversed(listed.items()))) == whole
    (tmp_path / ".DS_Store").write_text("notes of a tool")
    assert folder_digest(files_below(tmp_path)) == whole
