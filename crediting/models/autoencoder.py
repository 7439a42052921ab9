"""Images to latents and back, through a frozen autoencoder of diffusers."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from crediting.errors import ConfigError, EvaluationError
from crediting.halving import in_halves
from crediting.models.pixels import from_images, to_images
from crediting.models.pretrained import read_network
from crediting.training.examples import Examples


def read_vq_or_kl(folder: Path) -> nn.Module:
    """Return the autoencoder that `model.autoencoder` names; raises as `read_network`."""
    from diffusers import AutoencoderKL, VQModel

    kinds = {"VQModel": VQModel, "AutoencoderKL": AutoencoderKL}
    return read_network(folder, kinds, "model.autoencoder")


def read_kl(folder: Path) -> nn.Module:
    """Return the autoencoder of `model.pretrained`; raises as `read_network`."""
    from diffusers import AutoencoderKL

    return read_network(folder, {"AutoencoderKL": AutoencoderKL}, "model.pretrained")


class Codec(NamedTuple):
    """An autoencoder and how it is used.

    Args:
        network: a VQModel or AutoencoderKL.
        scaling: latents are what the encoder gives, times this.
        batch_size: images at a time.
        source: the config key that names the network, for messages.
    """

    network: Any
    scaling: float
    batch_size: int
    source: str

    def encode(self, images: Tensor, shape: tuple[int, ...], mirror: bool) -> Examples:
        """Return images, uint8 (N, C, H, W) on the network's device, as latents, float32.

        Those of a VQModel are what its encoder gives, before quantisation; those of an
        AutoencoderKL are the posterior's means, with its standard deviations.

        Args:
            images: what to encode.
            shape: of one point, as the denoiser expects it.
            mirror: whether to encode the images mirrored left to right as well.

        Raises:
            ConfigError: the latents of these images are of another shape.
        """
        self._check(images, shape)
        examples = self._examples(images)
        if not mirror:
            return examples
        return replace(examples, mirrored=self._examples(images, mirror=True))

    def decode(self, latents: Tensor) -> Tensor:
        """Return latents, (N, *shape) on the network's device, as images, uint8 (N, C, H, W).

        Raises:
            EvaluationError: they are so far off that pixels are NaN or infinite.
        """

        def decoded(batch: Tensor) -> Tensor:
            pixels = self.network.decode(batch.float() / self.scaling).sample
            if not torch.isfinite(pixels).all():
                raise EvaluationError(
                    "the autoencoder makes NaN or infinity of what the denoiser generates, which "
                    "usually means that its training diverged; lower the learning rate"
                )
            return to_images(pixels)

        # in full precision, whatever denoisers compute in: half overflows here, to black images
        with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):
            return torch.cat(in_halves(decoded, latents, self.batch_size))

    def _examples(self, images: Tensor, mirror: bool = False) -> Examples:
        def encoded(batch: Tensor) -> tuple[Tensor, Tensor | None]:
            return self._latents(from_images(batch.flip(-1) if mirror else batch))

        with torch.no_grad():
            parts = in_halves(encoded, images, self.batch_size)
        means, deviations = zip(*parts, strict=True)
        if deviations[0] is None:
            return Examples(torch.cat(means))
        return Examples(torch.cat(means), deviations=torch.cat(deviations))

    def _latents(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return scaled latents, and their standard deviations if the encoder gives any."""
        from diffusers import VQModel

        encoded = self.network.encode(pixels)
        if isinstance(self.network, VQModel):
            return encoded.latents * self.scaling, None
        posterior = encoded.latent_dist
        return posterior.mean * self.scaling, posterior.std * self.scaling

    def _check(self, images: Tensor, shape: tuple[int, ...]) -> None:
        channels = self.network.config.in_channels
        if images.shape[1] != channels:
            raise ConfigError(
                f"{self.source}: expected images of {channels} channels, as the autoencoder reads "
                f"them, got {images.shape[1]}; choose another dataset or autoencoder."
            )
        found = tuple(self._examples(images[:1]).latents.shape[1:])
        if found != shape:
            raise ConfigError(
                f"{self.source}: expected latents of shape {shape}, as the denoiser reads them, "
                f"got {found} for images of {images.shape[-2]} x {images.shape[-1]}; correct the "
                "size of the images, or the size that the denoiser is for (model.unet.in_channels "
                "and model.unet.sample_size, or model.size)."
            )
