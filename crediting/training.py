"""The one training loop: base training, recovery after pruning and every fine-tuning use it.

All examples lie in model space on the device; a coalition is a set of indices into them. Which
images form a batch, their timesteps, noise and flips are functions of (stream, step, image id),
so a run that was killed and resumed, or ran on another worker, takes the same steps.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F

from crediting.errors import ConfigError
from crediting.randomness import Stream
from crediting.resume import TrainingCheckpoint

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Recipe:
    """How a denoiser is trained; learning rate and weight decay are constant over the steps.

    `ema_decay` is the largest decay of the averaged weights; at step s it is at most
    (1 + s) / (10 + s), so that a short training is not ruled by its start.
    """

    steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    gradient_clip: float
    ema_decay: float
    horizontal_flip: bool

    def __post_init__(self) -> None:
        if self.optimizer not in _OPTIMIZERS:
            raise ConfigError(
                f"optimizer: expected one of {sorted(_OPTIMIZERS)}, got {self.optimizer!r}"
            )
        for key in ("batch_size", "learning_rate", "gradient_clip"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"{key}: expected a positive number, got {getattr(self, key)}")
        if self.steps < 0:
            raise ConfigError(f"steps: expected 0 or more, got {self.steps}")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay: expected a number in [0, 1), got {self.ema_decay}")


class Trainer:
    """Trains denoisers on examples that stay on the device.

    Args:
        latents: all training examples in model space, float32 (n_examples, *shape).
        noise_scheduler: diffusers scheduler of the forward process.
        accelerator: device and precision.
    """

    def __init__(self, latents: Tensor, noise_scheduler: Any, accelerator: Accelerator) -> None:
        self._latents = latents
        self._scheduler = noise_scheduler
        self._accelerator = accelerator
        self._signal, self._noise = _diffusion_coefficients(noise_scheduler, latents.device)

    def train(
        self,
        denoiser: nn.Module,
        recipe: Recipe,
        examples: Tensor,
        stream: Stream,
        checkpoint: TrainingCheckpoint | None = None,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> dict[str, Tensor]:
        """Train a denoiser in place and return its averaged (EMA) parameters by name.

        Args:
            denoiser: on the device of the latents.
            recipe: number of steps and how each is done.
            examples: indices to train on, int64 (k,), on the device; k > 0.
            stream: the identity of the randomness.
            checkpoint: where a long training is saved and resumed from.
            on_step: told the number of finished steps.
        """
        optimizer = _OPTIMIZERS[recipe.optimizer](
            denoiser.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=self._latents.device.type in ("cpu", "cuda"),
        )
        average = EMAModel(denoiser.parameters(), decay=recipe.ema_decay, foreach=True)
        first = checkpoint.restore(denoiser, optimizer, average) if checkpoint else 0
        denoiser.train()
        with self._prepared(denoiser, optimizer) as (model, prepared):
            for step in range(first, recipe.steps):
                on_step(step)
                loss = self._loss(model, recipe, examples, stream.at(step))
                self._accelerator.backward(loss)
                self._accelerator.clip_grad_norm_(denoiser.parameters(), recipe.gradient_clip)
                prepared.step()
                prepared.zero_grad()
                average.step(denoiser.parameters())
                if checkpoint:
                    checkpoint.offer(step + 1, denoiser, optimizer, average)
        on_step(recipe.steps)
        names = [name for name, _ in denoiser.named_parameters()]
        return dict(zip(names, average.shadow_params, strict=True))

    @contextmanager
    def _prepared(self, denoiser: nn.Module, optimizer: Any) -> Iterator[tuple[nn.Module, Any]]:
        model, prepared = self._accelerator.prepare(denoiser, optimizer)
        try:
            yield model, prepared
        finally:
            self._accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            # accelerate remembers everything it prepared; hundreds of coalitions would pile up
            self._accelerator.free_memory()

    def _loss(self, model: nn.Module, recipe: Recipe, examples: Tensor, stream: Stream) -> Tensor:
        ids = stream.at("batch").choose(examples, recipe.batch_size)
        clean = self._latents[ids]
        if recipe.horizontal_flip:
            flipped = stream.at("flip").integers(ids, 2).bool()
            clean = torch.where(flipped.view(-1, *[1] * (clean.dim() - 1)), clean.flip(-1), clean)
        noise = stream.at("noise").normal(ids, tuple(clean.shape[1:]))
        timesteps = antithetic_timesteps(stream.at("time"), ids, len(self._signal))
        signal, scale = (
            c[timesteps].view(-1, *[1] * (clean.dim() - 1)) for c in (self._signal, self._noise)
        )
        prediction = model(signal * clean + scale * noise, timesteps).sample
        return F.mse_loss(prediction.float(), self._target(clean, noise, signal, scale))

    def _target(self, clean: Tensor, noise: Tensor, signal: Tensor, scale: Tensor) -> Tensor:
        if self._scheduler.config.prediction_type == "v_prediction":
            return signal * noise - scale * clean
        return noise


def antithetic_timesteps(stream: Stream, ids: Tensor, n_timesteps: int) -> Tensor:
    """Return timesteps, int64 (N,), the second half mirroring the first: t and T - 1 - t.

    Source: the pairing of the authors' training loop (Song et al.'s DDIM code before them).
    """
    half = stream.integers(ids[: len(ids) // 2 + 1], n_timesteps)
    return torch.cat([half, n_timesteps - 1 - half])[: len(ids)]


def _diffusion_coefficients(scheduler: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sqrt(alpha_bar) and sqrt(1 - alpha_bar) by timestep, float32 (T,)."""
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise ConfigError(
            "model.noise.prediction_type: expected epsilon or v_prediction, "
            f"got {scheduler.config.prediction_type!r}"
        )
    alpha_bar = scheduler.alphas_cumprod.double()
    return alpha_bar.sqrt().float().to(device), (1 - alpha_bar).sqrt().float().to(device)


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Return the accelerator for a device (cpu, cuda, mps) and a precision (no, bf16, fp16)."""
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)


def partial_checkpoint(folder: Path, every_seconds: float, identity: str) -> TrainingCheckpoint:
    """Return the checkpoint of an unfinished training in an artifact's folder."""
    return TrainingCheckpoint(
        folder / "checkpoint" / "training.safetensors", every_seconds, identity
    )
