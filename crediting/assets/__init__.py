"""Files and folders that parts need from outside: data sets and published weights."""

from collections.abc import Mapping

from crediting.assets.by_hand import ByHand
from crediting.assets.hub import HubFolder
from crediting.assets.url_archive import UrlArchive
from crediting.assets.url_file import UrlFile
from crediting.interfaces import Asset


def assets_of(part: object) -> Mapping[str, Asset]:
    """Return what a part needs from outside, by its own config key; nothing if it needs none."""
    method = getattr(part, "assets", None)
    return {} if method is None else method()


__all__ = ["ByHand", "HubFolder", "UrlArchive", "UrlFile", "assets_of"]
