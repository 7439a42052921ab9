"""Images as numbers in [-1, 1], which is what every network here reads and writes."""

import torch


def from_images(images: torch.Tensor) -> torch.Tensor:
    """Return images, uint8 (N, C, H, W), as float32 in [-1, 1] of the same shape."""
    return images.to(torch.float32) / 127.5 - 1


def to_images(pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels clamped to [-1, 1] and rounded to uint8; undoes `from_images` exactly."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
