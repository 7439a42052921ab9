"""Fine-tunings: how the model of a coalition is obtained."""

from crediting.finetuning.finetune import Finetune, Retrain, Unchanged
from crediting.finetuning.gradient_ascent import GradientAscent
from crediting.finetuning.influence_unlearning import InfluenceUnlearning
from crediting.finetuning.lora import LoRA

__all__ = [
    "Finetune",
    "GradientAscent",
    "InfluenceUnlearning",
    "LoRA",
    "Retrain",
    "Unchanged",
]
