"""Fine-tuning by low-rank adapters, which are folded into the model before it is sampled from."""

from collections.abc import Sequence

import torch

from crediting import lora
from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, StartingPoint
from crediting.training.recipe import Recipe, Training


class LoRA:
    """Train adapters on what the coalition owns; all other weights stay as they are.

    They sit on the averaged weights, the ones that images are drawn from. The adapters start as
    zero, and from the same numbers for every coalition. The empty coalition gets the
    untrained model.

    Args:
        recipe: of the adapters' training.
        rank: of every adapter.
        scale: what an adapter's output is multiplied by; alpha / rank in other software.
        dropout: share of an adapter's inputs that are dropped while training.
        targets: how the names of the linear layers end that get an adapter.
        b_rate_factor: the second factor, B, learns by so many times the learning rate.
        seed: of the adapters' first factors, A.

    Source: LoRA fine-tuning in the paper; Hu et al. 2022; the two rates are those
    of LoRA+, Hayou et al. 2024.
    """

    def __init__(
        self,
        recipe: Recipe,
        rank: int,
        scale: float,
        dropout: float,
        targets: Sequence[str],
        b_rate_factor: int | float,
        seed: int,
    ) -> None:
        if rank < 1:
            raise ConfigError(f"finetuning.rank: expected 1 or more, got {rank}")
        for key, value in (("scale", scale), ("b_rate_factor", b_rate_factor)):
            if not value > 0:
                raise ConfigError(f"finetuning.{key}: expected a positive number, got {value}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"finetuning.dropout: expected a share in [0, 1), got {dropout}")
        self.recipe = recipe
        self.rank = rank
        self.scale = scale
        self.dropout = dropout
        self.targets = tuple(targets)
        self.b_rate_factor = b_rate_factor
        self.seed = seed

    def check(self, denoiser: torch.nn.Module, model: DiffusionModel) -> None:
        """Raise ConfigError if there are adapters already, or no layer that could get one."""
        self._layers(denoiser)

    def coalition_model(
        self, start: StartingPoint, kept: torch.Tensor, removed: torch.Tensor
    ) -> torch.nn.Module | Training:
        """Return the adapters' training on what is kept, int64 (k,); then they are folded in.

        Raises:
            ConfigError: the denoiser has adapters already, or no layer that could get one.
        """
        if len(kept) == 0:
            return start.untrained()
        denoiser = start.averaged()
        ranks = dict.fromkeys(self._layers(denoiser), self.rank)
        lora.attach(denoiser, ranks, self.scale, self.dropout, self.seed)
        rate_factors = {"lora_B": self.b_rate_factor}
        return Training(denoiser, self.recipe, kept, rate_factors=rate_factors, finish=lora.merge)

    def _layers(self, denoiser: torch.nn.Module) -> list[str]:
        """Return the names of the layers that get an adapter."""
        if lora.ranks(denoiser):
            raise ConfigError(
                "finetuning: expected a model without adapters, got one that consists of adapters "
                "on frozen weights; choose finetuning=finetune, which trains just those."
            )
        names = lora.target_names(denoiser, self.targets)
        if not names:
            raise ConfigError(
                "finetuning.targets: expected endings of names of the denoiser's linear layers, "
                f"got {', '.join(self.targets) or 'none'}, which none has; if it is for want of "
                "attention, give it some (model.unet.add_attention=true for the middle block, and "
                "train it anew) or choose finetuning=finetune."
            )
        return names
