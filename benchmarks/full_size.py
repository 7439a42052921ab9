"""Networks of the published shapes with random weights, in the published files: for timing only."""

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, VQModel

sys.path.insert(0, str(Path(__file__).parents[1]))  # for scripts, which is no installed package

from scripts.miniature.judges import write_inception
from scripts.miniature.pipelines import write_sd


def settings_of(experiment: str, folder: Path, device: torch.device) -> list[str]:
    """Write what an experiment reads at full size; return the settings that name it."""
    if experiment == "cifar_ddpm":
        write_inception(folder / "inception.pth")
        return [f"extractor.inception_v3.weights={folder / 'inception.pth'}"]
    with device:
        if experiment == "celeba_ldm":
            _vqvae().save_pretrained(folder / "vqvae")
            return [f"model.autoencoder={folder}"]
        if experiment == "artbench_sd_lora":
            write_sd(folder / "sd")
            _unet().save_pretrained(folder / "sd" / "unet")
            _vae().save_pretrained(folder / "sd" / "vae")
            return [f"model.pretrained={folder / 'sd'}"]
    return []


def _vqvae() -> VQModel:
    """Return the autoencoder of CompVis/ldm-celebahq-256."""
    return VQModel(
        **_autoencoder((128, 256, 512)),
        latent_channels=3,
        num_vq_embeddings=8192,
        sample_size=256,
    )


def _vae() -> AutoencoderKL:
    """Return the autoencoder of Stable Diffusion 1."""
    return AutoencoderKL(**_autoencoder((128, 256, 512, 512)), latent_channels=4, sample_size=256)


def _unet() -> UNet2DConditionModel:
    """Return the U-Net of Stable Diffusion 1, for latents of 32 x 32."""
    return UNet2DConditionModel(sample_size=32, cross_attention_dim=768, attention_head_dim=8)


def _autoencoder(channels: tuple[int, ...]) -> dict[str, object]:
    return {
        "block_out_channels": channels,
        "layers_per_block": 2,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
    }
