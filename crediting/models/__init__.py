"""Families of diffusion models, and their denoisers on disk."""

from crediting.models.checkpoint import load_denoiser, load_weights, save_denoiser, save_weights
from crediting.models.ddpm import DDPM

__all__ = ["DDPM", "load_denoiser", "load_weights", "save_denoiser", "save_weights"]
