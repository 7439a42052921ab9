"""A folder that nobody can download by a program, such as data behind a form."""

from dataclasses import dataclass
from pathlib import Path

from crediting.assets.messages import published
from crediting.assets.url_archive import is_there, member_digest
from crediting.errors import DataError


@dataclass(frozen=True)
class ByHand:
    """A folder that the user must get and unpack.

    Args:
        what: a noun phrase in the singular, such as "the data set CelebA-HQ".
        source: where it is published.
        size: bytes to download.
        licence: as its authors name it.
        key: the config key that names the folder.
        folder: where it is to lie.
        member: a file or folder below it that is there once it is unpacked.
        instructions: what to do, as one sentence.
    """

    what: str
    source: str
    size: int
    licence: str
    key: str
    folder: Path
    member: str
    instructions: str

    def find(self) -> Path:
        """Return the folder.

        Raises:
            DataError: the member is not in it; the message says what to do.
        """
        if is_there(self.folder / self.member):
            return self.folder
        raise DataError(
            f"{self.key}: {self.what} is not here ({self.folder / self.member}) and must be got "
            f"by hand. {published(self)} {self.instructions} It may lie anywhere: name it with "
            f"{self.key}=<folder>."
        )

    def fetch(self) -> Path:
        """Return the folder; raises as `find` if it is not there."""
        return self.find()

    def digest(self) -> str:
        """Return the sha256 over names and contents of the member; raises as `find`."""
        return member_digest(self.find() / self.member)
