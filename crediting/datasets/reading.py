"""One image file, decoded in full and brought to a common form."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from crediting.errors import ConfigError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What a file may contain, whatever its name says: formats read by Pillow itself.

Others hand the file to programs of the system, as EPS does to Ghostscript.
"""

_PHOTOMETRIC = 262  # the tag of a TIFF that says whether 0 is black or white

_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}


class UnreadableError(Exception):
    """A file is no image that can be used; the message says why, without its name."""


@dataclass(frozen=True)
class Frame:
    """What every image is brought to.

    Args:
        size: height and width, or None to leave them.
        channels: 3 (RGB) or 1 (grey).
        resize: the filter, lanczos or bicubic.
    """

    size: tuple[int, int] | None
    channels: int
    resize: str

    @staticmethod
    def of(size: int | Sequence[int] | None, channels: int, resize: str) -> "Frame":
        """Return the frame that settings of a dataset describe; one number means a square.

        Raises:
            ConfigError: a setting is none of those.
        """
        sides = [size, size] if isinstance(size, int) else size
        if sides is not None and (
            len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides)
        ):
            raise ConfigError(
                "dataset.size: expected a number of pixels, [height, width], or null to take "
                f"images as they are, got {size!r}"
            )
        if channels not in (1, 3):
            raise ConfigError(f"dataset.channels: expected 3 (RGB) or 1 (grey), got {channels!r}")
        if resize not in _FILTERS:
            raise ConfigError(f"dataset.resize: expected one of {[*_FILTERS]}, got {resize!r}")
        return Frame(None if sides is None else (sides[0], sides[1]), channels, resize)


def read_image(file: Path, frame: Frame) -> NDArray[np.uint8]:
    """Return the pixels of an image file, (channels, height, width).

    Of several pictures in a file the first is read; it is turned as its EXIF orientation says.
    Colours are converted to those of the frame, 16-bit grey to 8 bits, and what is transparent
    lies on white. Then it is scaled to cover the size, shorter side first, and cropped around the
    centre.

    Raises:
        UnreadableError: the file is damaged, cannot be read, is no image, or too large a one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # odd metadata
        try:
            with Image.open(file, formats=FORMATS) as opened:
                return _fitted(_in_colours(opened, frame.channels), frame)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise UnreadableError(
                f"has too many pixels to be opened safely ({error}); shrink it"
            ) from error
        except UnidentifiedImageError as error:
            raise UnreadableError(
                f"is no image of a known format ({', '.join(FORMATS)})"
            ) from error
        except PermissionError as error:
            raise UnreadableError("may not be read: permission denied") from error
        except UnreadableError:
            raise
        except Exception as error:  # decoders raise whatever they stumble over
            raise UnreadableError(
                f"is damaged or unusual, and cannot be decoded ({error})"
            ) from error


def _in_colours(image: Image.Image, channels: int) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise UnreadableError("has 32-bit pixels, whose range is unknown; save it in 8 bits")
    white_is_zero = isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = _eight_bits(image, white_is_zero)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB" if channels == 3 else "L")


def _eight_bits(image: Image.Image, white_is_zero: bool) -> Image.Image:
    """Return grey levels 0..65535 as 0..255, and with them which level is transparent.

    Pillow's own conversion would cut levels off at 255, and it reads a negative as it is.
    """
    levels = np.asarray(image).astype(np.float64)
    bright = (2**16 - 1) - levels if white_is_zero else levels
    grey = Image.fromarray(np.rint(bright * (255 / (2**16 - 1))).astype(np.uint8))
    if isinstance(hidden := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(levels == hidden, 0, 255).astype(np.uint8)))
    return grey


def _fitted(image: Image.Image, frame: Frame) -> NDArray[np.uint8]:
    if frame.size is not None:
        height, width = frame.size
        image = ImageOps.fit(image, (width, height), _FILTERS[frame.resize])
    pixels = np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, frame.channels)
    return pixels.transpose(2, 0, 1)
