"""Ways of making the full model smaller."""

from crediting.pruning.magnitude import Magnitude
from crediting.pruning.none import NoPruning

__all__ = ["Magnitude", "NoPruning"]
