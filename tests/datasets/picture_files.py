"""Miniature image files for the tests of datasets."""

from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed, height=6, width=8):
    """Return noise, uint8 (height, width, 3); different for every seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(file: Path, seed, height=6, width=8, **options):
    """Write noise as an image in the format that the ending of the file names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, height, width)).save(file, **options)
    return file


def as_image(tensor):
    """Return a tensor (3, H, W) as an array (H, W, 3), as PIL has it."""
    return tensor.permute(1, 2, 0).numpy()
