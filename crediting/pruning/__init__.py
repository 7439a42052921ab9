"""Ways of making the full model smaller."""

from crediting.pruning.diff_pruning import DiffPruning
from crediting.pruning.lora_ranks import LoraRanks
from crediting.pruning.magnitude import Magnitude
from crediting.pruning.none import NoPruning
from crediting.pruning.random import RandomChannels
from crediting.pruning.reinit import Reinit
from crediting.pruning.taylor import Taylor

__all__ = [
    "DiffPruning",
    "LoraRanks",
    "Magnitude",
    "NoPruning",
    "RandomChannels",
    "Reinit",
    "Taylor",
]
