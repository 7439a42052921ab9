"""What the families without prompts share: a U-Net from nothing, or published, and its noise."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from crediting.assets import HubFolder
from crediting.errors import ConfigError
from crediting.models.pretrained import (
    check_agreement,
    files_of,
    find_part,
    read_config,
    read_network,
)
from crediting.models.unet import (
    SCHEDULER,
    SCHEDULER_FILE,
    UNetFamily,
    as_published,
    build,
    check_betas,
    device_of,
    example_inputs,
    published_noise,
    random_stream,
    reset,
)
from crediting.training import Recipe

_UNET = ("unet", "")


class Unconditional(UNetFamily):
    """A U-Net that reads points and timesteps only.

    Args:
        unet: arguments of `diffusers.UNet2DModel`, or None: as in `pretrained`.
        noise: arguments of `diffusers.DDPMScheduler`, or None: as in `pretrained`.
        pretrained: a folder of diffusers, or a repository on the hub, whose U-Net is meant by
            "untrained"; what `unet` and `noise` give must then agree with it. None: random.
        training: the recipe of the full model.
    """

    conditional: ClassVar[bool] = False
    encoder_settings: ClassVar[tuple[str, ...]] = ()
    unstated_noise: ClassVar[Mapping[str, Any]] = {}
    published: ClassVar[tuple[str, int, str]]
    """A repository with such a U-Net, bytes of its files, its licence."""

    def __init__(
        self,
        unet: Mapping[str, Any] | None,
        noise: Mapping[str, Any] | None,
        pretrained: str | None,
        training: Recipe,
    ) -> None:
        for key, given in (("unet", unet), ("noise", noise)):
            if given is None and pretrained is None:
                raise ConfigError(
                    f"model.{key}: expected its settings, got null, and model.pretrained is null, "
                    "too; give one of them."
                )
        self.unet = unet
        self.noise = noise
        self.pretrained = pretrained
        self.training = training

    @property
    def only_as_published(self) -> bool:
        """Whether there is no untrained twin of fewer channels."""
        return self.pretrained is not None

    def assets(self) -> dict[str, HubFolder]:
        """Return the published U-Net, if one is named."""
        if self.pretrained is None:
            return {}
        repo, size, licence = self.published
        schedulers = tuple(f"{part}/{SCHEDULER_FILE}".removeprefix("/") for part in SCHEDULER)
        configs = [file for file in files_of(*_UNET) if file.endswith(".json")]
        unet = HubFolder(
            what="a pretrained U-Net",
            repo=repo,
            patterns=(*files_of(*_UNET), *schedulers),
            size=size,
            licence=licence,
            key="model.pretrained",
            local=self.pretrained,
            required=(
                " or ".join(configs),
                "*diffusion_pytorch_model.*",
                # of other repositories it is not known whether they have one
                *([" or ".join(schedulers)] if self.pretrained == repo else ()),
            ),
        )
        return {"pretrained": unet}

    def untrained(self, seed: int) -> nn.Module:
        """Return the U-Net on the CPU, random or as published; leaves the global stream alone.

        Raises:
            ConfigError: `model.unet` is not an architecture that diffusers can build, or does not
                agree with the published one.
            DataError: the published one cannot be read.
        """
        from diffusers import UNet2DModel

        if self.pretrained is None:
            with random_stream(seed):
                return build(UNet2DModel, self.unet or {}, "model.unet")
        folder = find_part(self._folder(), _UNET, "model.pretrained")
        denoiser = read_network(folder, {"UNet2DModel": UNet2DModel}, "model.pretrained")
        check_agreement("model.unet", self.unet or {}, denoiser.config)
        return denoiser

    def reinitialise(self, denoiser: nn.Module, seed: int) -> nn.Module:
        """Return a copy of the same shape: as published, or initialised as torch does by default.

        Random weights depend on the seed and the shape only, not on the device.

        Raises:
            ConfigError: it is pruned, and the published one is not.
        """
        if self.pretrained is not None:
            return as_published(self.untrained(seed), denoiser)
        fresh = copy.deepcopy(denoiser).cpu()
        with random_stream(seed):
            for module in fresh.modules():
                reset(module)
        fresh.zero_grad()
        return fresh.to(device_of(denoiser))

    def example_inputs(self, denoiser: nn.Module) -> dict[str, Any]:
        """Return one point and its timestep on the denoiser's device."""
        return example_inputs(denoiser, self.latent_shape())

    def embed(self, prompts: Sequence[str], device: torch.device) -> torch.Tensor:
        """Refuse: the denoiser reads no prompts.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "generation.prompts: expected null, because this model draws without prompts; remove "
            "them, or choose a model that reads some, such as model=sd_lora."
        )

    def latent_shape(self) -> tuple[int, ...]:
        """Return (channels, height, width) of one point, as the U-Net is configured for.

        Raises:
            ConfigError: `model.unet` does not say which points it is for.
            DataError: the published configuration cannot be read.
        """
        unet = self._config()
        missing = [key for key in ("in_channels", "sample_size") if unet.get(key) is None]
        if missing:
            raise ConfigError(
                f"model.unet: expected the keys in_channels and sample_size, found no "
                f"{' and no '.join(missing)}; set them to the shape of what is to be denoised."
            )
        classes = [k for k in ("class_embed_type", "num_class_embeds") if unet.get(k) is not None]
        if classes:
            raise ConfigError(
                f"model.unet.{classes[0]}: expected null, because no classes are given to the "
                f"denoiser, got {unet[classes[0]]}; remove it, or choose another pretrained model."
            )
        channels, size = unet["in_channels"], unet["sample_size"]
        out_channels = unet.get("out_channels", 3)  # what diffusers takes where it is not said
        if out_channels != channels:
            raise ConfigError(
                f"model.unet.out_channels: expected {channels}, as many as in_channels, because "
                f"the noise that is predicted is of the same shape, got {out_channels}."
            )
        height, width = _height_and_width(size)
        levels = unet.get("block_out_channels")
        halvings = 2 ** (len(levels) - 1) if isinstance(levels, Sequence) and levels else 1
        if height % halvings or width % halvings:
            raise ConfigError(
                f"model.unet.sample_size: expected a multiple of {halvings}, as the size is halved "
                f"between its levels of block_out_channels, got {size}."
            )
        return (channels, height, width)

    def noise_scheduler(self) -> Any:
        """Return the forward process, a `diffusers.DDPMScheduler`.

        Raises:
            ConfigError: `model.noise` is not a process that diffusers can build, or none that
                turns images to noise; it does not agree with the published one, or there is none.
        """
        from diffusers import DDPMScheduler

        if self.pretrained is None or not self._has_scheduler():
            if self.noise is None:
                raise ConfigError(
                    "model.noise: expected its settings, got null, and model.pretrained "
                    f"({self.pretrained}) holds no scheduler; give them."
                )
            scheduler = build(DDPMScheduler, self.noise, "model.noise")
            check_betas(scheduler, "model.noise")
            return scheduler
        scheduler = published_noise(self._folder(), self.unstated_noise)
        check_agreement("model.noise", self.noise or {}, scheduler.config)
        return scheduler

    def _folder(self) -> Path:
        return self.assets()["pretrained"].find()

    def _config(self) -> Mapping[str, Any]:
        if self.pretrained is None:
            return self.unet or {}
        folder = find_part(self._folder(), _UNET, "model.pretrained")
        return read_config(folder / "config.json", "model.pretrained")

    def _has_scheduler(self) -> bool:
        return any((self._folder() / name / SCHEDULER_FILE).is_file() for name in SCHEDULER)


def _height_and_width(size: Any) -> tuple[int, int]:
    """Return the sides that `model.unet.sample_size` means."""
    sides = [size, size] if isinstance(size, int) else size
    if isinstance(sides, Sequence) and [type(side) for side in sides] == [int, int]:
        height, width = sides
        if height > 0 and width > 0:
            return height, width
    raise ConfigError(
        "model.unet.sample_size: expected a whole number above 0, the side of what is "
        f"denoised, or [height, width], got {size!r}."
    )
