"""Stable Diffusion, whose U-Net is fine-tuned as a whole, or by adapters."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import nn

from crediting.assets import HubFolder
from crediting.errors import ConfigError, DataError
from crediting.models import text
from crediting.models.autoencoder import Codec, read_kl
from crediting.models.lora_file import FILE, fold
from crediting.models.pretrained import files_of, frozen, read_config, read_network
from crediting.models.unet import (
    UNetFamily,
    as_published,
    check_positive,
    example_inputs,
    published_noise,
)
from crediting.training import Recipe
from crediting.training.examples import Examples


class StableDiffusion(UNetFamily):
    """A published text-to-image model of the Stable Diffusion 1 or 2 family, fine-tuned.

    Args:
        pretrained: a pipeline's folder of diffusers, or a repository on the hub.
        lora: a folder or repository with adapters that belong to what is published, or None.
        size: pixels, height and width of the images.
        mirror: whether mirrored images are encoded, too, which a horizontal flip needs.
        batch_size: images or prompts encoded, or images decoded, at a time.
        training: the recipe of the full model.

    Source: Rombach et al. 2022.
    """

    conditional: ClassVar[bool] = True
    only_as_published: ClassVar[bool] = True
    encoder_settings: ClassVar[tuple[str, ...]] = ("pretrained", "mirror")
    memory_settings: ClassVar[tuple[str, ...]] = ("batch_size",)

    def __init__(
        self,
        pretrained: str,
        lora: str | None,
        size: int,
        mirror: bool,
        batch_size: int,
        training: Recipe,
    ) -> None:
        check_positive(size=size, batch_size=batch_size)
        self.pretrained = pretrained
        self.lora = lora
        self.size = size
        self.mirror = mirror
        self.batch_size = batch_size
        self.training = training

    def assets(self) -> dict[str, HubFolder]:
        """Return the pipeline, and the adapters folded into it if any are named."""
        needed = {"pretrained": _pipeline(self.pretrained)}
        return needed if self.lora is None else needed | {"lora": _adapters(self.lora)}

    def untrained(self, seed: int) -> nn.Module:
        """Return the published U-Net on the CPU; the seed plays no part.

        Raises:
            ConfigError: it is no U-Net of this family.
            DataError: it cannot be read, or the adapters cannot.
        """
        return copy.deepcopy(self.base()).requires_grad_(True).train()

    def reinitialise(self, denoiser: nn.Module, seed: int) -> nn.Module:
        """Return the published U-Net on the denoiser's device.

        Raises:
            ConfigError: the denoiser is pruned.
        """
        return as_published(self.untrained(seed), denoiser)

    def example_inputs(self, denoiser: nn.Module) -> dict[str, Any]:
        """Return one point, its timestep and an embedded prompt on the denoiser's device."""
        inputs = example_inputs(denoiser, self.latent_shape())
        config: Any = denoiser.config
        prompt = (1, text.length(self._folder()), config.cross_attention_dim)
        return {
            **inputs,
            "encoder_hidden_states": torch.zeros(prompt, device=inputs["sample"].device),
        }

    def encode(self, images: torch.Tensor, columns: Mapping[str, NDArray]) -> Examples:
        """Return images, uint8 (N, 3, size, size), as posteriors, and their captions embedded.

        Raises:
            ConfigError: the images are of another size.
            DataError: the dataset has no captions, or a network cannot be read.
        """
        captions, caption_of = text.distinct_captions(columns)
        device = images.device
        examples = self._codec(device).encode(images, self.latent_shape(), self.mirror)
        embedded = self.embed(captions, device)
        return replace(examples, captions=embedded, caption_of=caption_of.to(device))

    def embed(self, prompts: Sequence[str], device: torch.device) -> torch.Tensor:
        """Return prompts as the U-Net reads them, float32 (len(prompts), tokens, width)."""
        return text.embed(self._folder(), prompts, device, self.batch_size)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents as images, uint8 (N, 3, size, size)."""
        return self._codec(latents.device).decode(latents)

    def latent_shape(self) -> tuple[int, ...]:
        """Return (channels, height, width) of the latents of one image.

        Raises:
            ConfigError: the autoencoder cannot halve images of this size so often.
        """
        config = self._autoencoder_config()
        factor = 2 ** (len(config["block_out_channels"]) - 1)
        if self.size % factor:
            raise ConfigError(
                f"model.size: expected a multiple of {factor}, as the autoencoder makes images "
                f"{factor} times smaller, got {self.size}"
            )
        return (config["latent_channels"], self.size // factor, self.size // factor)

    def noise_scheduler(self) -> Any:
        """Return the forward process for which the U-Net was published."""
        # latents have no bounds; schedulers without this setting would get the one for pixels
        return published_noise(self._folder(), {}, clip_sample=False)

    def base(self) -> nn.Module:
        """Return the published U-Net, frozen, adapters folded in: one per process, not to change.

        Raises:
            ConfigError: it is no U-Net of this family.
            DataError: it cannot be read, or the adapters cannot.
        """
        folders = [self._folder() / "unet"]
        if self.lora is not None:
            folders.append(self.assets()["lora"].find())
        return frozen(_read_base, torch.device("cpu"), *folders)

    def _folder(self) -> Path:
        return self.assets()["pretrained"].find()

    def _codec(self, device: torch.device) -> Codec:
        folder = self._folder() / "vae"
        network: Any = frozen(read_kl, device, folder)
        scaling = network.config.scaling_factor
        if not isinstance(scaling, int | float) or not 0 < scaling < math.inf:
            raise DataError(
                f"model.pretrained: expected a positive number for scaling_factor in "
                f"{folder / 'config.json'}, got {scaling!r}; leave the line out for 0.18215, that "
                "of Stable Diffusion 1 and 2, or name another pipeline."
            )
        return Codec(network, scaling, self.batch_size, "model.pretrained")

    def _autoencoder_config(self) -> Mapping[str, Any]:
        path = self._folder() / "vae" / "config.json"
        needed = ("block_out_channels", "latent_channels")
        return read_config(path, "model.pretrained", *needed)


def _read_base(folder: Path, adapters: Path | None = None) -> nn.Module:
    from diffusers import UNet2DConditionModel

    kinds = {"UNet2DConditionModel": UNet2DConditionModel}
    unet: Any = read_network(folder, kinds, "model.pretrained")
    if unet.config.addition_embed_type is not None:
        raise ConfigError(
            "model.pretrained: expected a pipeline of Stable Diffusion 1 or 2, whose U-Net reads "
            f"prompts only, got one that wants {unet.config.addition_embed_type}, too, in {folder}."
        )
    same = unet.config.in_channels == unet.config.out_channels
    if not same or unet.config.class_embed_type or unet.config.num_class_embeds:
        raise ConfigError(
            "model.pretrained: expected a U-Net that reads prompts and as many channels as it "
            f"predicts ({unet.config.out_channels}), got one of {unet.config.in_channels} channels "
            f"or with classes in {folder}, as for inpainting or upscaling; choose another."
        )
    if adapters is not None:
        fold(unet, adapters)
    return unet


def _pipeline(local: str) -> HubFolder:
    networks = ("unet", "vae", "text_encoder")
    return HubFolder(
        what="a pipeline of Stable Diffusion",
        repo="lambda/miniSD-diffusers",
        patterns=(*files_of(*networks), "tokenizer/*", "scheduler/scheduler_config.json"),
        size=4_267_000_000,
        licence="CreativeML OpenRAIL-M",
        key="model.pretrained",
        local=local,
        required=(
            *(f"{network}/config.json" for network in networks),
            *(f"{network}/*model.*" for network in networks),
            "tokenizer/*.json",
            "scheduler/scheduler_config.json",
        ),
    )


def _adapters(local: str) -> HubFolder:
    return HubFolder(
        what="the adapters",
        repo=local,
        patterns=(FILE,),
        size=0,
        licence="see there",
        key="model.lora",
        local=local,
        required=(FILE,),
    )
