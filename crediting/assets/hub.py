"""Files of a repository on the Hugging Face hub, such as a pretrained pipeline."""

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from crediting.assets.digests import files_below, folder_digest
from crediting.assets.messages import NotFetchedError, not_fetched, not_here, published
from crediting.errors import DataError

_OFFLINE = "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set in the environment"


@dataclass(frozen=True)
class HubFolder:
    """Part of a repository on the hub, kept in the hub's own cache unless a folder is named.

    Args:
        what: a noun phrase in the singular, such as "the pretrained miniSD".
        repo: the id under which it is published, to which size and licence belong; of any other
            id that the config names nothing is known beforehand.
        patterns: which of its files are needed, such as "unet/*.json"; `*` matches `/` too.
        size: bytes of those files; 0 if unknown.
        licence: as its authors name it.
        key: the config key that names it.
        local: what the config says there: an id on the hub, or a folder.
        required: patterns, or several in a row with "or" between them, each of which at least one
            file must match.
    """

    what: str
    repo: str
    patterns: tuple[str, ...]
    size: int
    licence: str
    key: str
    local: str
    required: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.local != self.repo and not self._is_path():
            of_another = {"repo": self.local, "size": 0, "licence": "see there"}
            for field, value in of_another.items():
                object.__setattr__(self, field, value)

    @property
    def source(self) -> str:
        """The address of the published repository."""
        return f"https://huggingface.co/{self.repo}"

    @property
    def destination(self) -> Path:
        """The cache of the hub: HF_HOME, or ~/.cache/huggingface."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)

    def find(self) -> Path:
        """Return the folder that is named, else the snapshot in the cache of the hub.

        Raises:
            NotFetchedError: it is not in the cache, or not all of it.
            DataError: the folder is not there, or lacks a file.
        """
        if self._is_path():
            return self._local_folder()
        snapshot = self._snapshot()
        if snapshot is None or self._lacking(self._needed(files_below(snapshot))):
            offline = f"; {_OFFLINE}" if _offline() else ""
            where = f"{self.local} in {self.destination}{offline}"
            raise not_here(self, self.key, where, "folder")
        return snapshot

    def fetch(self) -> Path:
        """Return the folder, after downloading the files into the cache if it is not there.

        Of weights that are published in two forms only one is downloaded.

        Raises:
            DataError: they cannot be had, or the repository lacks a file.
        """
        with suppress(NotFetchedError):
            return self.find()
        if _offline():
            raise self._not_fetched(f"{_OFFLINE}; unset it")
        from huggingface_hub import HfApi, snapshot_download

        try:
            files = HfApi().model_info(self.local).siblings or []
            needed = self._needed(file.rfilename for file in files)
            if lacking := self._lacking(needed):
                raise self._not_fetched(f"the repository has no {lacking}")
            return Path(snapshot_download(self.local, allow_patterns=needed))
        except DataError:
            raise
        except Exception as error:  # the library passes on those of its HTTP client as well
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise self._not_fetched(reason) from error

    def digest(self) -> str:
        """Return the sha256 over names and contents of the files needed; raises as `find`."""
        files = files_below(self.find())
        return folder_digest({name: files[name] for name in self._needed(files)})

    def _is_path(self) -> bool:
        """Return whether the config names a folder: one that is there, or what looks like one."""
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.local)
        except HFValidationError:
            return True
        path = Path(self.local)
        looks_like_one = os.sep in self.local and path.parent.exists() and self.local != self.repo
        return path.exists() or looks_like_one

    def _local_folder(self) -> Path:
        folder = Path(self.local).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"{self.key}: there is no folder {folder}; expected {self.what}. {published(self)} "
                f"Mend the path, or take the published files with {self.key}={self.repo}."
            )
        if lacking := self._lacking(self._needed(files_below(folder))):
            raise DataError(
                f"{self.key}: the folder {folder} does not hold {self.what}: it lacks {lacking}. "
                f"{published(self)} Complete it, or take the published files with "
                f"{self.key}={self.repo}."
            )
        return folder

    def _snapshot(self) -> Path | None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(
                snapshot_download(
                    self.local, allow_patterns=list(self.patterns), local_files_only=True
                )
            )
        except LocalEntryNotFoundError:
            return None

    def _not_fetched(self, reason: str) -> DataError:
        return not_fetched(self, self.key, self.local, reason, "folder")

    def _needed(self, names: Iterable[str]) -> list[str]:
        """Return the files that are asked for: what others need may lie beside them.

        Weights as safetensors stand for the same ones as a pickle, as they do for who reads them.
        """
        asked = [name for name in names if _matches(name, self.patterns)]
        return [name for name in asked if not any(twin in asked for twin in _safer_forms(name))]

    def _lacking(self, names: Collection[str]) -> str:
        """Return the required files that are not among these, "" if none."""
        lacking = [
            any_of
            for any_of in (tuple(required.split(" or ")) for required in self.required)
            if not any(_matches(name, any_of) for name in names)
        ]
        return ", ".join(
            " or ".join([name for name in self.patterns if _matches(name, any_of)] or any_of)
            for any_of in lacking
        )


def _safer_forms(name: str) -> tuple[str, ...]:
    """Return how weights may be called besides that are saved as `name`, diffusers' or not."""
    stem, _, ending = name.rpartition(".")
    if ending != "bin":
        return ()
    renamed = stem.removesuffix("pytorch_model") + "model"
    return (f"{stem}.safetensors", f"{renamed}.safetensors")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
