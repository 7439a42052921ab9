"""Families of diffusion models, and their denoisers on disk."""

from crediting.models.ddpm import DDPM
from crediting.models.ldm import LDM
from crediting.models.stable_diffusion import StableDiffusion
from crediting.models.stable_diffusion_lora import StableDiffusionLoRA

__all__ = ["DDPM", "LDM", "StableDiffusion", "StableDiffusionLoRA"]
