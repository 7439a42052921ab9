"""The one training loop: base training, recovery after pruning and every fine-tuning use it.

All examples lie in model space on the device; a coalition is a set of indices into them. Batches,
timesteps, noise, flips and dropout are functions of (stream, step, image ids), so a run that was
killed and resumed, or ran on another worker, takes the same steps.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
from crediting.resume import TrainingCheckpoint, TrainingState

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Recipe:
    """How a denoiser is trained; learning rate and weight decay are constant over the steps.

    `ema_decay` is the largest decay of the averaged weights; after s earlier steps it is at most
    (1 + s) / (10 + s), and 0 at the first, so that a short training is not ruled by its start.
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
            if not getattr(self, key) > 0:
                raise ConfigError(f"{key}: expected a positive number, got {getattr(self, key)}")
        for key in ("steps", "weight_decay"):
            if not getattr(self, key) >= 0:
                raise ConfigError(f"{key}: expected 0 or more, got {getattr(self, key)}")
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
        assert len(examples) > 0, "there is nothing to train on"
        device = self._latents.device
        # one accelerator per training: it remembers all that it ever prepared, and its scale of
        # the loss in fp16; forgetting (`free_memory`) collects garbage for up to a second
        accelerator = make_accelerator(device.type, self._accelerator.mixed_precision)
        state = _initial_state(denoiser, recipe, device, accelerator.scaler)
        first = checkpoint.restore(state) if checkpoint else 0
        denoiser.train()
        with _prepared(accelerator, state) as (model, optimizer), _forked_generators(device):
            for step in range(first, recipe.steps):
                on_step(step)
                _seed_generators(device, stream.at(step, "dropout").seed)
                loss = self._loss(model, recipe, examples, stream.at(step))
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(denoiser.parameters(), recipe.gradient_clip)
                optimizer.step()
                optimizer.zero_grad()
                state.average.step(denoiser.parameters())
                if checkpoint:
                    checkpoint.offer(step + 1, state)
        on_step(recipe.steps)
        names = [name for name, _ in denoiser.named_parameters()]
        return dict(zip(names, state.average.shadow_params, strict=True))

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


def _initial_state(
    denoiser: nn.Module, recipe: Recipe, device: torch.device, scaler: Any
) -> TrainingState:
    optimizer = _OPTIMIZERS[recipe.optimizer](
        denoiser.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    average = EMAModel(denoiser.parameters(), decay=recipe.ema_decay, foreach=True)
    return TrainingState(denoiser, optimizer, average, scaler)


@contextmanager
def _prepared(accelerator: Accelerator, state: TrainingState) -> Iterator[tuple[nn.Module, Any]]:
    """Let accelerate cast the denoiser's calls, and give the bare denoiser back afterwards."""
    model, optimizer = accelerator.prepare(state.denoiser, state.optimizer)
    try:
        yield model, optimizer
    finally:
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)


def _diffusion_coefficients(scheduler: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sqrt(alpha_bar) and sqrt(1 - alpha_bar) by timestep, float32 (T,)."""
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise ConfigError(
            "model.noise.prediction_type: expected epsilon or v_prediction, "
            f"got {scheduler.config.prediction_type!r}"
        )
    alpha_bar = scheduler.alphas_cumprod.double()
    return alpha_bar.sqrt().float().to(device), (1 - alpha_bar).sqrt().float().to(device)


def _forked_generators(device: torch.device) -> AbstractContextManager[None]:
    """Return a context that restores the global generators, which only dropout draws from."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _seed_generators(device: torch.device, seed: int) -> None:
    # torch.manual_seed would reseed devices that are not forked, too
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Return the accelerator for a device (cpu, cuda) and a precision (no, bf16, fp16)."""
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)


def partial_checkpoint(folder: Path, every_seconds: float, identity: str) -> TrainingCheckpoint:
    """Return the checkpoint of an unfinished training in an artifact's folder."""
    return TrainingCheckpoint(
        folder / "checkpoint" / "training.safetensors", every_seconds, identity
    )
