"""Generations: how images are drawn from a denoiser."""

from crediting.generation.samplers import Ddim, DpmSolver, Pndm

__all__ = ["Ddim", "DpmSolver", "Pndm"]
