"""Coloured shapes before a gradient: pictures that differ by subject and by author."""

import colorsys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crediting.randomness import derive_seed

Mask = Callable[[NDArray, NDArray], NDArray]

FORMS: tuple[Mask, ...] = (
    lambda y, x: y**2 + x**2 < 1,
    lambda y, x: np.maximum(abs(y), abs(x)) < 0.85,
    lambda y, x: abs(y) + abs(x) < 1.1,
    lambda y, x: (y**2 + x**2 < 1) & (y**2 + x**2 > 0.3),
    lambda y, x: (np.maximum(abs(y), abs(x)) < 1) & (np.minimum(abs(y), abs(x)) < 0.3),
    lambda y, x: (np.maximum(abs(y), abs(x)) < 1) & (np.floor(y * 3) % 2 == 0),
    lambda y, x: (y < 0.8) & (y > 2 * abs(x) - 1),
)


def random(*identity: object) -> np.random.Generator:
    """Return the random numbers that belong to an identity."""
    return np.random.default_rng(derive_seed("miniature", *identity))


def picture(subject: str, author: str, number: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture (height, width, 3) of a subject, in the colours of an author.

    The subject decides on the form, the number on its place, its size and the light.
    """
    form = FORMS[random(subject).integers(len(FORMS))]
    hue, other = random(author).random(2)
    own = random(subject, author, number)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    centre, size, tilt = own.uniform(-0.25, 0.25, 2), own.uniform(0.45, 0.75), own.uniform(-1, 1, 2)
    light = 0.6 + 0.2 * (tilt[0] * y + tilt[1] * x)
    inside = form((y - centre[0]) / size, (x - centre[1]) / size)
    front = colorsys.hsv_to_rgb(hue, 0.8, 1)
    back = colorsys.hsv_to_rgb(other, 0.5, 0.6)
    pixels = np.where(inside[..., None], front, np.asarray(back)) * light[..., None]
    return (pixels * 255).round().astype(np.uint8)


def save(path: Path, pixels: NDArray[np.uint8], mode: str = "RGB") -> None:
    """Write pixels (H, W, 3) to a file whose suffix names the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, quality=95)
