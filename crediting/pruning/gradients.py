"""What the pruning methods that look at the loss share: its gradients, summed over timesteps."""

from collections.abc import Iterable

import torch

from crediting.errors import ConfigError


def accumulate(losses: Iterable[torch.Tensor]) -> None:
    """Add up the gradients of losses, each a scalar, drawn one at a time.

    Raises:
        ConfigError: a loss is not a finite number.
    """
    for value in losses:
        if not value.isfinite():
            raise ConfigError(
                "pruning: expected a finite training loss of the full model, got "
                f"{value.item()}; its training diverged: lower model.training.learning_rate."
            )
        value.backward()


def check_examples(examples: int) -> None:
    """Raise ConfigError unless there is at least one example per timestep."""
    if not examples >= 1:
        raise ConfigError(
            f"pruning.examples: expected 1 or more examples per timestep, got {examples!r}; "
            "choose for instance 128."
        )
