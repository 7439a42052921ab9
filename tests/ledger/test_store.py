import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import writers_for_tests as writers

from crediting.errors import ArtifactError, CreditingError
from crediting.files import atomic_write_bytes, atomic_write_text, exclusive_lock
from crediting.ledger import Store, fingerprint

CONTENT = {"width": 64}
ADDRESS = fingerprint("model", CONTENT, ["parent"])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def produce(store: Store) -> Path:
    with store.producing("model", ADDRESS, CONTENT, ["parent"]) as production:
        (production.folder / "weights.bin").write_bytes(b"abc")
        (production.folder / "deep").mkdir()
        (production.folder / "deep" / "config.json").write_text("{}")
        production.complete({"loss": 0.5})
    return production.folder


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, writers.__file__, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_an_artifact_is_read_back_with_all_that_made_it(store):
    started = time.monotonic()
    folder = produce(store)
    taken = time.monotonic() - started
    assert folder == store.folder("model", ADDRESS) == store.root / f"model-{ADDRESS[:16]}"
    assert store.is_complete("model", ADDRESS)
    manifest = store.read("model", ADDRESS)
    assert 0 < manifest.pop("seconds") <= taken
    assert manifest == {
        "schema": 1,
        "stage": "model",
        "fingerprint": ADDRESS,
        "content": CONTENT,
        "parents": ["parent"],
        "files": {
            "deep/config.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "weights.bin": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        },
        "facts": {"loss": 0.5},
        "versions": manifest["versions"],
    }
    assert manifest["versions"]["numpy"] == metadata.version("numpy")
    assert set(manifest["versions"]) == {"crediting", "torch", "diffusers", "numpy"}


def test_an_artifact_is_made_once(store):
    produce(store)
    with store.producing("model", ADDRESS, CONTENT, ["parent"]) as production:
        assert production.already_complete
        with pytest.raises(RuntimeError, match="must not be written again"):
            production.complete({})


def test_what_was_not_completed_is_not_there(store):
    with store.producing("model", ADDRESS, CONTENT) as production:
        assert not production.already_complete
        assert not store.is_complete("model", ADDRESS)
    assert not store.is_complete("model", ADDRESS)
    with pytest.raises(ArtifactError, match="no complete artifact"):
        store.read("model", ADDRESS)


def test_the_manifest_is_written_after_all_else(store, monkeypatch):
    """Whatever fails while completing, the artifact is not complete and work in progress stays."""

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    with store.producing("model", ADDRESS, CONTENT) as production:
        (production.folder / "weights.bin").write_bytes(b"abc")
        (production.folder / "checkpoint").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full_disk)
            with pytest.raises(OSError, match="No space"):
                production.complete({})
        assert not store.is_complete("model", ADDRESS)
        assert (production.folder / "checkpoint").exists()
        production.complete({})
    assert store.is_complete("model", ADDRESS)


def test_work_in_progress_is_no_part_of_an_artifact(store):
    with store.producing("model", ADDRESS, CONTENT) as production:
        folder = production.folder
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "step").write_text("10")
        (folder / "images.partial").mkdir()
        (folder / "images.partial" / "1.png").write_bytes(b"1")
        (folder / "weights.partial.bin").write_bytes(b"ab")
        (folder / "weights.bin").write_bytes(b"abc")
        production.complete({})
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "complete.json",
        "weights.bin",
    ]
    assert list(store.read("model", ADDRESS)["files"]) == ["weights.bin"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "weights.bin").write_bytes(b"abd"), r"weights\.bin is corrupt"),
        (lambda folder: (folder / "weights.bin").unlink(), r"weights\.bin is missing"),
        (lambda folder: (folder / "complete.json").write_text("{"), r"complete\.json is corrupt"),
        (lambda folder: (folder / "complete.json").write_text("[]"), r"complete\.json is corrupt"),
        (lambda folder: (folder / "complete.json").write_text("{}"), r"complete\.json is corrupt"),
    ],
)
def test_damage_is_found_with_the_way_out(store, damage, problem):
    folder = produce(store)
    damage(folder)
    with pytest.raises(ArtifactError, match=problem) as caught:
        store.read("model", ADDRESS)
    assert f"Delete the folder {folder} and run the same command again" in str(caught.value)


def test_two_fingerprints_that_share_a_folder_are_told_apart(store):
    produce(store)
    with pytest.raises(ArtifactError, match="belongs to"):
        store.read("model", ADDRESS[:16] + "0" * 48)


def test_a_complete_artifact_can_be_used_from_a_folder_without_write_permission(store, monkeypatch):
    produce(store)
    monkeypatch.setattr("crediting.ledger.store.exclusive_lock", None)
    with store.producing("model", ADDRESS, CONTENT) as production:
        assert production.already_complete


def test_a_file_system_without_locks_is_told(store, monkeypatch):
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")  # of Lustre without -o flock

    monkeypatch.setattr(fcntl, "flock", unknown)
    with (
        pytest.raises(CreditingError, match=r"model-.*cannot lock files .*paths\.outputs"),
        store.producing("model", ADDRESS, CONTENT),
    ):
        pass


def test_all_of_an_artifact_is_on_the_disk_once_it_is_complete(store, monkeypatch):
    """Else a power cut could leave a manifest of files that are not there."""
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda file: flushed.add(os.fstat(file).st_ino))
    folder = produce(store)
    names = ("", "weights.bin", "deep/config.json", "complete.json")
    assert {(folder / name).stat().st_ino for name in names} <= flushed


def test_a_lock_is_released_though_a_child_has_inherited_it(tmp_path, monkeypatch):
    path, lock, inherited = tmp_path / "lock", fcntl.flock, []

    def with_a_child(file, how):
        inherited.append(os.dup(file.fileno()))  # the same open file, as in a child
        lock(file, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", with_a_child)
        with exclusive_lock(path):
            pass
    try:
        with path.open("ab") as file:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        for descriptor in inherited:
            os.close(descriptor)


def test_a_second_process_waits_and_finds_the_artifact(tmp_path):
    first = start("produce", tmp_path, 1)
    assert first.stdout.readline() == "making\n"
    second = start("produce", tmp_path, 0)
    assert second.communicate(timeout=20)[0] == "found\n"
    assert first.communicate(timeout=20)[0] == "made\n"
    folder = Store(tmp_path).folder("model", fingerprint("model", {"slow": True}))
    assert (folder / "weights.bin").read_text() == str(first.pid)


def checkpoints_in(folder):
    return list(folder.glob("model-*/checkpoint/step"))


def test_a_killed_process_frees_the_artifact_and_leaves_its_checkpoint(tmp_path):
    first = start("produce", tmp_path, 600)
    assert first.stdout.readline() == "making\n"
    while not any(checkpoint.read_text() for checkpoint in checkpoints_in(tmp_path)):
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate()
    (checkpoint,) = checkpoints_in(tmp_path)
    assert checkpoint.read_text() == "10"
    second = start("produce", tmp_path, 0)
    assert second.communicate(timeout=20)[0].split() == ["making", "made"]
    store = Store(tmp_path)
    assert list(store.read("model", fingerprint("model", {"slow": True}))["files"]) == [
        "weights.bin"
    ]
    assert not checkpoint.exists()


def test_an_atomic_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "table.json"
    atomic_write_text(path, "größer")
    assert path.read_bytes() == "größer".encode()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_bytes(path, b"new")
    assert path.read_text() == "größer"
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_has_the_usual_permissions(tmp_path):
    """Stores are shared, so files must not be private to their maker."""
    (tmp_path / "usual").touch()
    atomic_write_text(tmp_path / "atomic", json.dumps({}))
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "atomic")}
    assert len(modes) == 1
