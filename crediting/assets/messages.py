"""One wording for whatever is not here, cannot be fetched or cannot be read."""

import re

from crediting.errors import DataError
from crediting.interfaces import Asset


class NotFetchedError(DataError):
    """It is not here, but can be fetched; any other `DataError` needs the user's own hands."""


def human_size(size: int) -> str:
    """Return a number of bytes as "3.3 GB", "104 MB" or "4 kB" (powers of ten)."""
    if size >= 999_500_000:
        return f"{size / 1e9:.1f} GB"
    if size >= 999_500:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e3:.0f} kB" if size >= 1000 else f"{size} bytes"


def published(asset: Asset) -> str:
    """Return where it is published, how large it is and under which licence, as a sentence."""
    if asset.size == 0:
        return f"It would come from {asset.source}, which tells its licence."
    return f"It is published at {asset.source}, {human_size(asset.size)}, licence {asset.licence}."


def in_short(error: BaseException) -> str:
    """Return the first sentence of what a library says, which seldom knows what to do next."""
    said = " ".join(str(error).split())
    return re.split(r"(?<=[a-z\])'\"]\.)\s", said)[0].rstrip(". ") or type(error).__name__


def not_here(asset: Asset, key: str, where: object, kind: str) -> NotFetchedError:
    """Return the error for what can be fetched; `kind` is "file" or "folder"."""
    return NotFetchedError(
        f"{key}: {asset.what} is not here ({where}). {published(asset)} Put a copy anywhere and "
        f"name it with {key}=<{kind}>, or fetch it with stage=fetch."
    )


def not_fetched(asset: Asset, key: str, origin: str, reason: object, kind: str) -> DataError:
    """Return the error for a download that failed."""
    return DataError(
        f"{key}: {asset.what} could not be fetched from {origin}: {reason}. Try again, or "
        f"put a copy anywhere and name it with {key}=<{kind}>."
    )
