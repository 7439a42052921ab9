"""A diffusion model in pixel space, over the U-Net and the noise process of diffusers."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn

from crediting.errors import ConfigError
from crediting.interfaces import Prunable
from crediting.training import Recipe


class DDPM:
    """A denoising diffusion probabilistic model whose latent space is the pixels.

    `unet` are the arguments of `diffusers.UNet2DModel`, `noise` those of
    `diffusers.DDPMScheduler`, `training` is the recipe of the full model. Source: Ho et al. 2020;
    paper section 4.1.
    """

    def __init__(self, unet: Mapping[str, Any], noise: Mapping[str, Any], training: Recipe) -> None:
        self.unet = unet
        self.noise = noise
        self.training = training

    def untrained(self, seed: int) -> nn.Module:
        """Return a randomly initialised U-Net on the CPU; the global random stream stays as it is.

        Raises:
            ConfigError: `model.unet` is not an architecture that diffusers can build.
        """
        with _random_stream(seed):
            return _build(UNet2DModel, self.unet, "model.unet")

    def reinitialise(self, denoiser: nn.Module, seed: int) -> nn.Module:
        """Return a copy of the same shape, pruned or not, initialised as torch does by default.

        The weights depend on the seed and the shape only, not on the device.
        """
        device = _device(denoiser)
        fresh = copy.deepcopy(denoiser).cpu()
        with _random_stream(seed):
            for module in fresh.modules():
                _reset(module)
        fresh.zero_grad()
        return fresh.to(device)

    def prunable(self, denoiser: nn.Module) -> Prunable:
        """Return inputs for one image on the denoiser's device; the output keeps its channels."""
        device = _device(denoiser)
        heads = {
            projection: attention.heads
            for attention in denoiser.modules()
            if isinstance(attention, Attention)
            for projection in (attention.to_q, attention.to_k, attention.to_v)
        }
        return Prunable(
            example_inputs={
                "sample": torch.zeros(1, *self.latent_shape(), device=device),
                "timestep": torch.zeros(1, dtype=torch.long, device=device),
            },
            ignored_layers=[denoiser.conv_out],
            num_heads=heads,
        )

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return images, uint8 (N, C, H, W), as float32 in [-1, 1] of the same shape."""
        return images.to(torch.float32) / 127.5 - 1

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return pixels in [-1, 1], clamped and rounded to uint8; undoes `encode` exactly."""
        return ((latents.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def latent_shape(self) -> tuple[int, ...]:
        """Return (channels, height, width) of one image, as the U-Net is configured for.

        Raises:
            ConfigError: `model.unet` does not say which images it is for.
        """
        missing = [key for key in ("in_channels", "sample_size") if self.unet.get(key) is None]
        if missing:
            raise ConfigError(
                f"model.unet: expected the keys in_channels and sample_size, found no "
                f"{' and no '.join(missing)}; set them to the shape of the images."
            )
        size = self.unet["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return (self.unet["in_channels"], height, width)

    def noise_scheduler(self) -> DDPMScheduler:
        """Return the forward process.

        Raises:
            ConfigError: `model.noise` is not a process that diffusers can build.
        """
        return _build(DDPMScheduler, self.noise, "model.noise")


def _build(kind: Callable[..., Any], arguments: Mapping[str, Any], key: str) -> Any:
    try:
        return kind(**arguments)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"{key}: expected arguments of diffusers.{kind.__name__}, which refuses them: "
            f"{error}; correct them in configs/model or on the command line."
        ) from error


@contextmanager
def _random_stream(seed: int) -> Iterator[None]:
    # torch.manual_seed would also reseed every accelerator, which fork_rng then leaves changed.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _reset(module: nn.Module) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
        return
    own = [name for name, _ in module.named_parameters(recurse=False)]
    assert not own, f"{type(module).__name__} cannot reinitialise its parameters {own}"


def _device(denoiser: nn.Module) -> torch.device:
    return next(denoiser.parameters()).device
