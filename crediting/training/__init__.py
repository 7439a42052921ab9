"""The one training loop, and all it stands on: recipes, batches, losses, steps, stacks, devices."""

from crediting.training.recipe import Recipe

__all__ = ["Recipe"]
