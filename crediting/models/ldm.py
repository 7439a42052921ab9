"""A diffusion model in the latent space of a frozen autoencoder."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray

from crediting.assets import HubFolder
from crediting.models.autoencoder import Codec, read_vq_or_kl
from crediting.models.pretrained import files_of, find_part, frozen
from crediting.models.unconditional import Unconditional
from crediting.models.unet import check_positive
from crediting.training import Recipe
from crediting.training.examples import Examples

_PARTS = ("vqvae", "vae", "")


class LDM(Unconditional):
    """A latent diffusion model without conditions.

    Args:
        unet: as for `Unconditional`; its channels and size are those of the latents.
        noise: as for `Unconditional`.
        autoencoder: a folder of diffusers, or a repository on the hub, with a VQModel or an
            AutoencoderKL in `vqvae/`, in `vae/` or at its top.
        scaling: latents are what the encoder gives, times this.
        mirror: whether mirrored images are encoded, too, which a horizontal flip needs.
        batch_size: images encoded or decoded at a time.
        pretrained: as for `Unconditional`.
        training: the recipe of the full model.

    Source: Rombach et al. 2022; the paper.
    """

    encoder_settings = ("autoencoder", "scaling", "mirror")
    memory_settings: ClassVar[tuple[str, ...]] = ("batch_size",)
    unstated_noise: ClassVar[Mapping[str, Any]] = {"clip_sample": False}  # latents have no bounds
    published = ("CompVis/ldm-celebahq-256", 1_096_000_000, "Apache-2.0")

    def __init__(
        self,
        unet: Mapping[str, Any] | None,
        noise: Mapping[str, Any] | None,
        autoencoder: str,
        scaling: float,
        mirror: bool,
        batch_size: int,
        pretrained: str | None,
        training: Recipe,
    ) -> None:
        super().__init__(unet, noise, pretrained, training)
        check_positive(scaling=scaling, batch_size=batch_size)
        self.autoencoder = autoencoder
        self.scaling = scaling
        self.mirror = mirror
        self.batch_size = batch_size

    def assets(self) -> dict[str, HubFolder]:
        """Return the autoencoder, and the published U-Net if one is named."""
        autoencoder = HubFolder(
            what="the autoencoder",
            repo="CompVis/ldm-celebahq-256",
            patterns=files_of(*_PARTS),
            size=221_000_000,
            licence="Apache-2.0",
            key="model.autoencoder",
            local=self.autoencoder,
            required=("*config.json", "*diffusion_pytorch_model.*"),
        )
        return {**super().assets(), "autoencoder": autoencoder}

    def encode(self, images: torch.Tensor, columns: Mapping[str, NDArray]) -> Examples:
        """Return images, uint8 (N, C, H, W), as latents.

        Raises:
            ConfigError: their latents are not of the shape that the U-Net reads.
            DataError: the autoencoder cannot be read.
        """
        return self._codec(images.device).encode(images, self.latent_shape(), self.mirror)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents as images; a VQModel quantises them first."""
        return self._codec(latents.device).decode(latents)

    def _codec(self, device: torch.device) -> Codec:
        folder = find_part(self.assets()["autoencoder"].find(), _PARTS, "model.autoencoder")
        network = frozen(read_vq_or_kl, device, folder)
        return Codec(network, self.scaling, self.batch_size, "model.autoencoder")
