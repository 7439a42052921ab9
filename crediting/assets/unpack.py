"""Archives unpacked without trusting what they hold."""

import tarfile
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path, PurePosixPath


class UnpackError(Exception):
    """The archive is damaged or reaches outside its folder; the message gives the reason."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain or compressed) or zip archive into a new folder.

    Raises:
        UnpackError: it is damaged or of another format, or a member would land, or a link
            point, outside the folder.
    """
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        LZMAError,
        EOFError,
        OSError,
    ) as error:
        raise UnpackError(str(error) or type(error).__name__) from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise UnpackError(f"{name!r} would be extracted outside the destination")
        zipped.extractall(folder)
