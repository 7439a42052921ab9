"""One file published at an address, such as a network's weights."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crediting.assets.digests import file_digest
from crediting.assets.download import DownloadError, download, file_name
from crediting.assets.messages import NotFetchedError, not_fetched, not_here
from crediting.errors import DataError


@dataclass(frozen=True)
class UrlFile:
    """A file at an address, kept in torch's cache unless a local copy is named.

    Args:
        what: a noun phrase in the singular, such as "the network Inception-v3".
        url: where it is published; its last part is the name of the file in the cache.
        sha256: in hexadecimal, whole or its beginning, or None if none is published.
        size: bytes.
        licence: as its authors name it.
        key: the config key that names a local copy.
        local: what the config says there: a file, or None for the cache.
    """

    what: str
    url: str
    sha256: str | None
    size: int
    licence: str
    key: str
    local: str | None

    @property
    def source(self) -> str:
        """The address."""
        return self.url

    @property
    def destination(self) -> Path:
        """The file in torch's cache: TORCH_HOME, or ~/.cache/torch."""
        from torch.hub import get_dir

        return Path(get_dir(), "checkpoints", file_name(self.url))

    def find(self) -> Path:
        """Return the local copy if one is named, else the file in the cache.

        Raises:
            NotFetchedError: it is not in the cache.
            DataError: the local copy is not there.
        """
        if self.local is not None:
            path = Path(self.local).expanduser()
            if path.is_file():
                return path
            raise DataError(
                f"{self.key}: there is no file {path}; expected {self.what}. Mend the path, or "
                f"take the published file with {self.key}=null."
            )
        path = self.destination
        if path.is_file() and path.stat().st_size > 0:
            return path
        raise not_here(self, self.key, path, "file")

    def fetch(self) -> Path:
        """Return the file, after downloading it into the cache if it is not there.

        Raises:
            DataError: it cannot be had, or its sha256 is wrong; or the local copy is not there.
        """
        with suppress(NotFetchedError):
            return self.find()
        try:
            download(self.url, self.destination, "sha256", self.sha256)
        except DownloadError as error:
            raise not_fetched(self, self.key, self.url, error, "file") from error
        return self.find()

    def digest(self) -> str:
        """Return the sha256 of the file; raises as `find`."""
        return file_digest(self.find())
