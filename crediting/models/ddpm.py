"""A diffusion model in pixel space."""

from collections.abc import Mapping

import torch
from numpy.typing import NDArray

from crediting.errors import ConfigError
from crediting.models.pixels import from_images, to_images
from crediting.models.unconditional import Unconditional
from crediting.training.examples import Examples


class DDPM(Unconditional):
    """A denoising diffusion probabilistic model, whose points are the images themselves.

    Source: Ho et al. 2020; the paper.
    """

    published = ("google/ddpm-cifar10-32", 143_000_000, "Apache-2.0")

    def encode(self, images: torch.Tensor, columns: Mapping[str, NDArray]) -> Examples:
        """Return images, uint8 (N, C, H, W), as float32 in [-1, 1] of the same shape.

        Raises:
            ConfigError: the U-Net is for images of another shape.
        """
        expected, found = self.latent_shape(), tuple(images.shape[1:])
        if found != expected:
            raise ConfigError(
                f"model.unet: expected images of {_shown(expected)}, as in_channels and "
                f"sample_size say, got {_shown(found)}; correct the size and channels of the "
                "dataset, or those of the U-Net, or choose another model, such as "
                "model=ddpm_cifar for colour images of 32 x 32."
            )
        return Examples(from_images(images), in_pixels=True)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return pixels in [-1, 1], clamped and rounded to uint8; undoes `encode` exactly."""
        return to_images(latents)


def _shown(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{channels} channels, {height} x {width} pixels"
