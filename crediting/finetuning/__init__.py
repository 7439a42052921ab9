"""Fine-tunings: how the model of a coalition is obtained."""

from crediting.finetuning.finetune import Finetune
from crediting.finetuning.retrain import Retrain
from crediting.finetuning.unchanged import Unchanged

__all__ = ["Finetune", "Retrain", "Unchanged"]
