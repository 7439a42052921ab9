"""Who deserves credit for what a diffusion model can do."""

__version__ = "0.1.0"
