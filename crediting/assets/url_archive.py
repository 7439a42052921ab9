"""A folder published as an archive at an address, such as a data set."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from crediting.assets.digests import file_digest, files_below, folder_digest
from crediting.assets.download import DownloadError, download, file_name
from crediting.assets.messages import NotFetchedError, not_fetched, not_here
from crediting.assets.unpack import UnpackError, unpack
from crediting.errors import DataError


@dataclass(frozen=True)
class UrlArchive:
    """A tar or zip archive at an address, unpacked into a folder.

    Args:
        what: a noun phrase in the singular, such as "the data set CIFAR-100".
        url: where it is published.
        md5: in hexadecimal, or None if none is published.
        size: bytes of the archive.
        licence: as its authors name it.
        key: the config key that names the folder.
        folder: where the content of the archive lies, or is to lie.
        member: a file or folder below it that is there once it is unpacked.
    """

    what: str
    url: str
    md5: str | None
    size: int
    licence: str
    key: str
    folder: Path
    member: str

    @property
    def source(self) -> str:
        """The address."""
        return self.url

    @property
    def destination(self) -> Path:
        """The folder."""
        return self.folder

    def find(self) -> Path:
        """Return the folder.

        Raises:
            NotFetchedError: the member is not in it.
        """
        if is_there(self.folder / self.member):
            return self.folder
        raise not_here(self, self.key, self.folder / self.member, "folder")

    def fetch(self) -> Path:
        """Return the folder, after downloading and unpacking the archive if it is not there.

        Raises:
            DataError: the archive cannot be had, is damaged or not what was published, or
                something in the folder is in its way.
        """
        with suppress(NotFetchedError):
            return self.find()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".fetching-", dir=self.folder) as temporary:
                archive = Path(temporary, file_name(self.url))
                download(self.url, archive, "md5", self.md5)
                unpacked = Path(temporary, "unpacked")
                unpack(archive, unpacked)
                archive.unlink()
                self._put_into_place(unpacked)
        except (DownloadError, UnpackError, OSError) as error:
            raise not_fetched(self, self.key, self.url, error, "folder") from error
        return self.folder

    def _put_into_place(self, unpacked: Path) -> None:
        """Move what was unpacked into the folder; the member comes last, as a sign of the end."""
        if not is_there(unpacked / self.member):
            raise UnpackError(f"the archive holds no {self.member}")
        if is_there(self.folder / self.member):  # another process fetched it meanwhile
            return
        last = PurePosixPath(self.member).parts[0]
        entries = sorted(unpacked.iterdir(), key=lambda entry: (entry.name == last, entry.name))
        for entry in entries:
            if (self.folder / entry.name).exists():
                raise DataError(
                    f"{self.key}: {self.folder / entry.name} is in the way of {self.what}, which "
                    f"is to be unpacked there, but holds no {self.member}. Move it away, or choose "
                    f"another folder with {self.key}=<folder>."
                )
        for entry in entries:
            entry.rename(self.folder / entry.name)

    def digest(self) -> str:
        """Return the sha256 over names and contents of the member; raises as `find`."""
        return member_digest(self.find() / self.member)


def is_there(member: Path) -> bool:
    """Return whether a member is a file, or a folder with anything in it."""
    return member.is_file() or (member.is_dir() and any(member.iterdir()))


def member_digest(member: Path) -> str:
    """Return the sha256 of a file, or over names and contents of all files below a folder."""
    return file_digest(member) if member.is_file() else folder_digest(files_below(member))
