"""Generations: how images are drawn from a denoiser."""

from crediting.generation.ddim import Ddim
from crediting.generation.dpm_solver import DpmSolver
from crediting.generation.pndm import Pndm

__all__ = ["Ddim", "DpmSolver", "Pndm"]
