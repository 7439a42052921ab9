"""Downloads that arrive whole and verified, or not at all."""

import hashlib
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from crediting.files import temporary_beside
from crediting.progress import bar

_CHUNK = 1 << 20
_SILENCE = 60  # seconds without a byte after which a server counts as gone


class DownloadError(Exception):
    """Nothing came, or not what was published; the message gives the reason."""


def file_name(url: str) -> str:
    """Return what the file at an address is called."""
    return PurePosixPath(unquote(urlsplit(url).path)).name


def download(url: str, target: Path, algorithm: str, checksum: str | None) -> None:
    """Download a file, putting it into place only if it is whole and its checksum is right.

    `checksum` is in hexadecimal, whole or its beginning, by an algorithm that hashlib knows;
    None if none is published: then only the length that the server announces is verified.

    Raises:
        DownloadError: it cannot be had, or is not what was published; nothing is left behind.
    """
    partial = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            found = _copy(url, file, algorithm, target.name)
        if checksum is not None and not found.startswith(checksum.lower()):
            raise DownloadError(
                f"what came is not what was published: expected {algorithm} {checksum}, got {found}"
            )
        partial.replace(target)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the server's page
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise DownloadError(reason or type(error).__name__) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _copy(url: str, file: IO[bytes], algorithm: str, label: str) -> str:
    """Copy what a server sends into a file and return its hexadecimal checksum."""
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    received = 0
    with urlopen(Request(url, headers={"User-Agent": "crediting"}), timeout=_SILENCE) as reply:
        if reply.headers.get_content_type() == "text/html":
            raise DownloadError("the server sent a web page instead of the file")
        length = reply.headers.get("Content-Length")
        with bar(label, int(length or 0), unit="B") as meter:
            meter.unit_scale = True
            while chunk := reply.read(_CHUNK):
                file.write(chunk)
                hashed.update(chunk)
                received += len(chunk)
                meter.update(len(chunk))
    if length is not None and received != int(length):
        raise DownloadError(f"the connection ended after {received:,} of {int(length):,} bytes")
    return hashed.hexdigest()
