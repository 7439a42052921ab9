"""What a study needs from outside: all of it told at once, fetched one by one, never silently."""

import re
import shutil
from collections import namedtuple
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from crediting.assets import ByHand
from crediting.assets.messages import NotFetchedError, human_size
from crediting.errors import ConfigError, DataError
from crediting.pipeline.fetch import fetch, require

COMMAND = "credit stage=fetch +experiment=celeba_ldm"


@dataclass
class Fake:
    """An asset in memory, which counts how often it is fetched."""

    what: str
    size: int = 104_000_000
    here: bool = False
    fails: bool = False
    destination: Path | None = None
    source: str = "https://example.org"
    licence: str = "MIT"
    fetched: list[str] = field(default_factory=list)

    def find(self):
        if self.here:
            return Path(self.what)
        raise NotFetchedError(f"key.{self.what}: {self.what} is not here.")

    def fetch(self):
        self.fetched.append(self.what)
        if self.fails:
            raise DataError(f"key.{self.what}: the server is gone.")
        self.here = True
        return self.find()

    def digest(self):
        raise AssertionError("nobody asked for the digest")


class Part:
    def __init__(self, **assets):
        self._assets = assets

    def assets(self):
        return self._assets


def faces(tmp_path):
    return ByHand(
        what="the faces",
        source="https://example.org/faces",
        size=527_000_000,
        licence="non-commercial",
        key="dataset.root",
        folder=tmp_path,
        member="train",
        instructions="Unpack faces.zip there.",
    )


def test_parts_that_need_nothing_pass(capsys):
    parts = {"dataset": object(), "model": Part(), "pruning": None, "extractor": {"a": Part()}}
    require(parts, COMMAND)
    fetch(parts, dry_run=False)
    assert "nothing from outside" in capsys.readouterr().err


def test_everything_missing_is_told_at_once_with_the_command():
    weights, unet, clip = Fake("weights"), Fake("unet"), Fake("clip", here=True)
    parts = {
        "dataset": Part(),
        "model": Part(pretrained=unet),
        "extractor": {"inception": Part(weights=weights), "clip": Part(weights=clip)},
    }
    with pytest.raises(DataError) as error:
        require(parts, COMMAND)
    message = str(error.value)
    assert "key.weights: " in message
    assert "key.unet: " in message
    assert "clip" not in message
    assert message.endswith(COMMAND)
    assert weights.fetched == unet.fetched == []


def test_the_command_is_offered_only_if_it_helps(tmp_path):
    with pytest.raises(DataError) as error:
        require({"dataset": Part(root=faces(tmp_path))}, COMMAND)
    assert COMMAND not in str(error.value)
    assert "Unpack faces.zip there." in str(error.value)
    with pytest.raises(DataError, match=COMMAND.replace("+", r"\+")):
        require({"dataset": Part(root=faces(tmp_path)), "model": Part(unet=Fake("unet"))}, COMMAND)


def test_what_is_shared_is_told_and_fetched_once():
    clip = Fake("clip")
    parts = {"extractor": {"a": Part(weights=clip), "b": Part(weights=clip)}}
    with pytest.raises(DataError) as error:
        require(parts, COMMAND)
    assert str(error.value).count("key.clip") == 1
    fetch(parts, dry_run=False)
    assert clip.fetched == ["clip"]


def test_a_part_that_cannot_say_what_it_needs_is_told():
    class Wrong:
        def assets(self):
            raise ConfigError("dataset.root: expected a folder, got 3")

    for run in (lambda parts: require(parts, COMMAND), partial(fetch, dry_run=False)):
        with pytest.raises(ConfigError, match=r"dataset\.root: expected"):
            run({"dataset": Wrong()})


def test_a_dry_run_fetches_nothing(capsys):
    unet = Fake("unet")
    fetch({"model": Part(pretrained=unet)}, dry_run=True)
    told = capsys.readouterr().err
    assert "to fetch" in told
    assert "Nothing is fetched" in told
    assert unet.fetched == []


def test_fetching_tells_what_it_will_do_and_then_does_it(capsys, tmp_path):
    unet = Fake("unet", size=3_300_000_000, destination=tmp_path / "not" / "yet")
    weights, clip = Fake("weights"), Fake("clip", here=True)
    parts = {"model": Part(pretrained=unet), "extractor": {"a": Part(a=weights, b=clip)}}
    fetch(parts, dry_run=False)
    told = capsys.readouterr().err
    lines = told.splitlines()
    assert lines[0].split() == ["what", "size", "licence", "state", "source"]
    table = {line.split("  ")[0]: line for line in lines[1:4]}
    assert "3.3 GB" in table["unet"]
    assert "to fetch" in table["unet"]
    assert "here" in table["clip"]
    assert "to fetch" not in table["clip"]
    assert "MIT" in table["weights"]
    assert "https://example.org" in table["weights"]
    assert "To fetch: 3.4 GB." in told
    assert f"Free at {tmp_path}: " in told
    assert (unet.fetched, weights.fetched, clip.fetched) == (["unet"], ["weights"], [])
    require(parts, COMMAND)
    fetch(parts, dry_run=False)
    assert "nothing to fetch" in capsys.readouterr().err
    assert unet.fetched == ["unet"]


def test_what_is_of_unknown_size_is_told_to_be(capsys):
    fetch({"model": Part(unet=Fake("unet", size=0), vae=Fake("vae", size=2_000))}, dry_run=True)
    told = capsys.readouterr().err
    assert re.search(r"unet +unknown", told)
    assert "To fetch: 2 kB, and what is of unknown size." in told


def test_one_failure_does_not_keep_the_others(tmp_path):
    first, broken, last = Fake("first"), Fake("broken", fails=True), Fake("last")
    parts = {"dataset": Part(root=faces(tmp_path)), "model": Part(a=first, b=broken, c=last)}
    with pytest.raises(DataError) as error:
        fetch(parts, dry_run=False)
    message = str(error.value)
    assert message.startswith("2 of 4 ")
    assert "the server is gone" in message
    assert "Unpack faces.zip there." in message
    assert "key.last" not in message
    assert first.here
    assert last.here


def test_too_little_space_is_told_before_anything_is_fetched(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 5 * 10**8))
    one = Fake("one", size=3 * 10**8, destination=tmp_path / "a")
    two = Fake("two", size=3 * 10**8, destination=tmp_path / "b" / "c")
    with pytest.raises(DataError, match=r"too little disk space: 600 MB .* 500 MB are free"):
        fetch({"model": Part(one=one, two=two)}, dry_run=False)
    assert one.fetched == two.fetched == []
    fetch({"model": Part(one=one)}, dry_run=False)
    assert one.here


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (999, "999 bytes"),
        (4_000, "4 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (104_000_000, "104 MB"),
        (999_500_000, "1.0 GB"),
        (3_300_000_000, "3.3 GB"),
    ],
)
def test_sizes_are_told_as_people_say_them(size, text):
    assert human_size(size) == text
