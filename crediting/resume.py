"""Saving an unfinished training so that it continues, bit for bit, after any kill."""

import time
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crediting.errors import ArtifactError


class TrainingCheckpoint:
    """Weights, averaged weights and optimizer state in one safetensors file, replaced atomically.

    Args:
        path: the file.
        every_seconds: time between two saves; it decides when to save, never what results.
        identity: what is being trained; a file of another identity is refused.
    """

    def __init__(self, path: Path, every_seconds: float, identity: str) -> None:
        self._path = path
        self._every = every_seconds
        self._identity = identity
        self._last = time.monotonic()

    def offer(
        self, step: int, denoiser: nn.Module, optimizer: torch.optim.Optimizer, average: EMAModel
    ) -> None:
        """Save after a finished step, if it is time to."""
        if time.monotonic() - self._last < self._every:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        metadata = {"step": str(step), "identity": self._identity}
        save_file(_tensors(denoiser, optimizer, average), partial, metadata)
        partial.replace(self._path)
        self._last = time.monotonic()

    def restore(
        self, denoiser: nn.Module, optimizer: torch.optim.Optimizer, average: EMAModel
    ) -> int:
        """Load what was saved, if anything, and return the number of finished steps.

        Raises:
            ArtifactError: the file is corrupt or belongs to another training.
        """
        if not self._path.exists():
            return 0
        device = next(denoiser.parameters()).device
        try:
            with safe_open(self._path, framework="pt") as file:
                metadata = file.metadata() or {}
                # cloned: tensors mapped from a file may be misaligned, which changes last bits
                tensors = {k: file.get_tensor(k).to(device).clone() for k in file.keys()}  # noqa: SIM118
            if metadata.get("identity") != self._identity:
                raise ArtifactError(self._advice("belongs to another training"))
            _restore(tensors, denoiser, optimizer, average)
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise ArtifactError(self._advice(f"cannot be read ({error})")) from error
        average.optimization_step = int(metadata["step"])
        return int(metadata["step"])

    def _advice(self, problem: str) -> str:
        return (
            f"{self._path}: this training checkpoint {problem}. Delete the file and run the same "
            "command again: the training starts over, everything else is kept."
        )


def _tensors(
    denoiser: nn.Module, optimizer: torch.optim.Optimizer, average: EMAModel
) -> dict[str, Tensor]:
    tensors = {f"denoiser.{k}": v for k, v in denoiser.state_dict().items()}
    tensors |= {f"average.{i}": v for i, v in enumerate(average.shadow_params)}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    return {key: value.detach().contiguous() for key, value in tensors.items()}


def _restore(
    tensors: dict[str, Tensor],
    denoiser: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: EMAModel,
) -> None:
    groups: dict[str, dict[str, Tensor]] = {"denoiser": {}, "average": {}, "optimizer": {}}
    for key, value in tensors.items():
        group, name = key.split(".", 1)
        groups[group][name] = value
    denoiser.load_state_dict(groups["denoiser"])
    average.shadow_params = [groups["average"][str(i)] for i in range(len(average.shadow_params))]
    state: dict[int, dict[str, Any]] = {}
    for name, value in groups["optimizer"].items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
