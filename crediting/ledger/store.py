"""The store of artifacts on disk: one folder per fingerprint, complete or as good as absent."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from crediting.errors import ArtifactError
from crediting.files import atomic_write_text, exclusive_lock
from crediting.ledger.fingerprint import SCHEMA_VERSION, as_plain, short

_MANIFEST = "complete.json"
_LOCK = ".lock"
_CHECKPOINT = "checkpoint"
_PARTIAL = "*.partial*"


class Store:
    """Artifacts under a root folder, each in `<stage>-<first digits of its fingerprint>`.

    An artifact is complete exactly when its folder holds `complete.json`, which is written last.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Return where an artifact lives, whether or not it is there."""
        return self.root / f"{stage}-{short(fingerprint)}"

    def is_complete(self, stage: str, fingerprint: str) -> bool:
        """Return whether an artifact was finished; its files are not looked at."""
        return (self.folder(stage, fingerprint) / _MANIFEST).is_file()

    def read(self, stage: str, fingerprint: str) -> dict[str, Any]:
        """Return the manifest of an artifact, once every file agrees with its sha256.

        Raises:
            ArtifactError: the artifact is not complete, or a file of it is missing or corrupt.
        """
        folder = self.folder(stage, fingerprint)
        manifest = _read_manifest(folder)
        if manifest["fingerprint"] != fingerprint:
            raise _corrupt(folder, _MANIFEST, f"belongs to {manifest['fingerprint']}")
        for name, digest in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                raise _corrupt(folder, name, "is missing")
            if _digest_on_disk(path) != digest:
                raise _corrupt(folder, name, "is corrupt: its sha256 is not the one recorded")
        return manifest

    @contextmanager
    def producing(
        self,
        stage: str,
        fingerprint: str,
        content: Mapping[str, Any],
        parents: Sequence[str] = (),
    ) -> "Iterator[Production]":
        """Hold an artifact's folder while it is made; wait for a process that is making it.

        What a killed process left in the folder is still there, so a stage may resume from it.
        """
        folder = self.folder(stage, fingerprint)
        identity = {
            "schema": SCHEMA_VERSION,
            "stage": stage,
            "fingerprint": fingerprint,
            "content": as_plain(content),
            "parents": list(parents),
        }
        if self.is_complete(stage, fingerprint):  # needs no lock, hence no permission to write
            yield Production(folder, identity, already_complete=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / _LOCK):
            already_complete = self.is_complete(stage, fingerprint)
            yield Production(folder, identity, already_complete)


class Production:
    """An artifact being made: write its files into `folder`, then call `complete`.

    `already_complete` tells that there is nothing left to do. Files named `*.partial*` and the
    subfolder `checkpoint` are work in progress: not part of the artifact, removed on completion.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], already_complete: bool) -> None:
        self.folder = folder
        self.already_complete = already_complete
        self._identity = identity
        self._started = time.monotonic()

    def complete(self, facts: Mapping[str, Any]) -> None:
        """Seal the artifact with what the stage wants remembered, in plain data.

        The seconds recorded are those of this process, not of earlier ones it resumed from.
        """
        if self.already_complete:
            raise RuntimeError(f"{self.folder} is complete and must not be written again")
        manifest = {
            **self._identity,
            "files": {name: _digest_on_disk(self.folder / name) for name in self._file_names()},
            "seconds": time.monotonic() - self._started,
            "facts": as_plain(facts),
            "versions": versions(),
        }
        atomic_write_text(self.folder / _MANIFEST, json.dumps(manifest, indent=2))
        self.already_complete = True
        self._remove_work_in_progress()

    def _file_names(self) -> list[str]:
        paths = [path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file()]
        return sorted(
            path.as_posix()
            for path in paths
            if path.as_posix() != _LOCK and not _is_work_in_progress(path)
        )

    def _remove_work_in_progress(self) -> None:
        shutil.rmtree(self.folder / _CHECKPOINT, ignore_errors=True)
        for path in list(self.folder.rglob(_PARTIAL)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@cache
def versions() -> Mapping[str, str]:
    """Return the installed versions of the packages that shape a result."""
    return {name: _version(name) for name in ("crediting", "torch", "diffusers", "numpy")}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(
            f"{folder} holds no complete artifact (no {_MANIFEST}): run the command that makes it"
        ) from None
    except ValueError as error:
        raise _corrupt(folder, _MANIFEST, f"is corrupt: {error}") from error
    if not isinstance(manifest, dict) or not {"fingerprint", "files"} <= manifest.keys():
        raise _corrupt(folder, _MANIFEST, "is corrupt: it is no manifest")
    return manifest


def _corrupt(folder: Path, name: str, problem: str) -> ArtifactError:
    return ArtifactError(
        f"{folder / name} {problem}. Delete the folder {folder} and run the same command again"
    )


def _digest_on_disk(path: Path) -> str:
    """Return the sha256 of a file, having made sure that it would survive a power cut."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def _is_work_in_progress(path: Path) -> bool:
    return path.parts[0] == _CHECKPOINT or any(fnmatch(part, _PARTIAL) for part in path.parts)
