"""Saving an unfinished training so that it continues, bit for bit, after any kill."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from crediting.errors import ArtifactError, is_out_of_memory
from crediting.files import atomic_write_bytes

if TYPE_CHECKING:
    from diffusers.training_utils import EMAModel

_REST = 9
"""Times as long as a save took until the next: no more than a tenth of the time goes into them."""
_LONGEST = 60
"""Times as long as was asked for that may pass for that reason."""


def trainable(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name: those that require gradients."""
    return {name: p for name, p in denoiser.named_parameters() if p.requires_grad}


@dataclass(frozen=True)
class TrainingState:
    """Everything that a training step changes; `scaler` scales the loss in fp16, else None."""

    denoiser: nn.Module
    optimizer: torch.optim.Optimizer
    average: EMAModel
    scaler: torch.amp.GradScaler | None

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state, named `<part>.<name>`."""
        tensors = {f"denoiser.{k}": v for k, v in self._changing().items()}
        tensors |= {f"average.{i}": v for i, v in enumerate(self.average.shadow_params)}
        for number, values in self._moments().items():
            tensors |= {f"optimizer.{number}.{k}": _as_tensor(v) for k, v in values.items()}
        return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors as `tensors` returned them."""
        parts: dict[str, dict[str, Tensor]] = {"denoiser": {}, "average": {}, "optimizer": {}}
        for key, value in tensors.items():
            part, name = key.split(".", 1)
            parts[part][name] = value
        with torch.no_grad():
            for name, value in self._changing().items():
                value.copy_(parts["denoiser"][name])
        for index, shadow in enumerate(self.average.shadow_params):
            shadow.copy_(parts["average"][str(index)])
        moments: dict[int, dict[str, Tensor | int]] = {}
        for name, value in parts["optimizer"].items():
            number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = _as_it_was(value)
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = {number: _laid_out(of, trained[number]) for number, of in moments.items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def _moments(self) -> dict[int, dict[str, Tensor | int]]:
        """Return what the optimizer remembers of every parameter, by its number."""
        # as every optimizer has it: those of bitsandbytes return it in further folds
        return torch.optim.Optimizer.state_dict(self.optimizer)["state"]

    def _changing(self) -> dict[str, Tensor]:
        """Return the trained parameters and the buffers: frozen parameters stay as they are."""
        frozen = {k for k, p in self.denoiser.named_parameters() if not p.requires_grad}
        return {k: v for k, v in self.denoiser.state_dict().items() if k not in frozen}


def _laid_out(values: dict[str, Tensor | int], like: Tensor) -> dict[str, Tensor | int]:
    """Return moments in the parameter's order of memory, in which fused optimizers read them."""
    return {
        key: torch.empty_like(like, dtype=value.dtype).copy_(value)
        if isinstance(value, Tensor) and value.shape == like.shape
        else value
        for key, value in values.items()
    }


def _as_tensor(value: Tensor | int) -> Tensor:
    """Return a number of steps, which bitsandbytes holds as an int, as a tensor of its own type.

    Tensors are copied: in bitsandbytes parameters share the tables of what 8 bits stand for.
    """
    return value.clone() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.int64)


def _as_it_was(value: Tensor) -> Tensor | int:
    """Return what `_as_tensor` made a tensor of; torch itself counts steps in float32."""
    return int(value.item()) if value.dtype == torch.int64 else value


class TrainingCheckpoint:
    """The state of a training in one safetensors file, replaced at once or not at all.

    Args:
        path: the file.
        every_seconds: time between two saves, or more where saving takes long; it decides when to
            save, never what results.
        identity: what is being trained; a file of another identity is refused.
        end: the step after which it is saved at any time: the last one, if another process is to
            take over the result.
    """

    def __init__(
        self, path: Path, every_seconds: float, identity: str, end: int | None = None
    ) -> None:
        self._path = path
        self._every = every_seconds
        self._pause = every_seconds
        self._identity = identity
        self._end = end
        self._last = time.monotonic()

    def offer(self, step: int, state: TrainingState) -> None:
        """Save after a finished step, if it is time to."""
        started = time.monotonic()
        if step != self._end and started - self._last < self._pause:
            return
        scaler = state.scaler.state_dict() if state.scaler else None
        facts = {"step": str(step), "identity": self._identity, "scaler": json.dumps(scaler)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # plain bytes, not safetensors' own writer: a full disk then is an OSError that says so
        atomic_write_bytes(self._path, save(state.tensors(), facts))
        self._last = time.monotonic()
        rest = _REST * (self._last - started)
        self._pause = max(self._every, min(rest, _LONGEST * self._every))

    def restore(self, state: TrainingState) -> int:
        """Load what was saved, if anything, and return the number of finished steps.

        Raises:
            ArtifactError: the file is corrupt or belongs to another training.
        """
        if not self._path.exists():
            return 0
        try:
            facts, tensors = self._read()
            if facts.get("identity") != self._identity:
                raise ArtifactError(self._advice("belongs to another training"))
            state.load(tensors)
            step, scaler = int(facts["step"]), json.loads(facts["scaler"])
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise  # the file is none the worse
            raise ArtifactError(self._advice(f"cannot be read ({error})")) from error
        state.average.optimization_step = step
        if state.scaler and scaler:  # the precision may have changed in between
            state.scaler.load_state_dict(scaler)
        return step

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        with safe_open(self._path, framework="pt") as file:
            # cloned: tensors mapped from a file may be misaligned, which changes last bits
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors

    def _advice(self, problem: str) -> str:
        return (
            f"{self._path}: this training checkpoint {problem}. Delete the file and run the same "
            "command again: the training starts over, everything else is kept."
        )
