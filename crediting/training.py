"""The one training loop: base training, recovery after pruning and every fine-tuning use it.

All examples lie in model space on the device; a coalition is a set of indices into them. Batches,
timesteps, noise, flips and dropout are functions of (stream, step, image ids), so a run that was
killed and resumed, or ran on another worker, takes the same steps.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from crediting.errors import ConfigError
from crediting.examples import Examples
from crediting.loss import DenoisingLoss
from crediting.randomness import Stream
from crediting.recipe import Recipe
from crediting.resume import TrainingCheckpoint, TrainingState, trainable

__all__ = ["Recipe", "Trainer", "antithetic_timesteps", "make_accelerator", "partial_checkpoint"]

_FACTOR = "rate_factor"


class Trainer:
    """Trains denoisers on examples that stay on the device.

    Args:
        examples: all training examples in model space.
        noise_scheduler: diffusers scheduler of the forward process.
        accelerator: device and precision.
    """

    def __init__(self, examples: Examples, noise_scheduler: Any, accelerator: Accelerator) -> None:
        self.loss = DenoisingLoss(examples, noise_scheduler)
        self._accelerator = accelerator
        self._device = examples.device

    @property
    def device(self) -> torch.device:
        """Where the examples are, and denoisers must be."""
        return self._device

    def check(self, recipe: Recipe) -> None:
        """Raise ConfigError if a recipe asks for what these examples or this machine lack."""
        _optimizer(recipe)
        if recipe.horizontal_flip and not self.loss.examples.can_mirror:
            raise ConfigError(
                "horizontal_flip: the latents of mirrored images are needed, and only the images "
                "as they are were encoded; set model.mirror=true, or horizontal_flip=false"
            )

    def train(
        self,
        denoiser: nn.Module,
        recipe: Recipe,
        examples: Tensor,
        stream: Stream,
        checkpoint: TrainingCheckpoint | None = None,
        on_step: Callable[[int], None] = lambda step: None,
        *,
        ascend: bool = False,
        rate_factors: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """Train a denoiser in place and return its averaged (EMA) trainable parameters by name.

        Args:
            denoiser: on the device of the examples; what requires gradients is trained.
            recipe: number of steps and how each is done.
            examples: indices to train on, int64 (k,), on the device; k > 0.
            stream: the identity of the randomness.
            checkpoint: where a long training is saved and resumed from.
            on_step: told the number of finished steps.
            ascend: increase the loss instead.
            rate_factors: multiplies the learning rate of parameters whose name holds a key.

        Raises:
            ConfigError: mirrored images are asked for, and nobody encoded them; or the optimizer
                is not installed.
        """
        assert len(examples) > 0, "there is nothing to train on"
        self.check(recipe)
        # one accelerator per training: it remembers all that it ever prepared, and its scale of
        # the loss in fp16; forgetting (`free_memory`) collects garbage for up to a second
        accelerator = make_accelerator(self._device.type, self._accelerator.mixed_precision)
        state = _initial_state(denoiser, recipe, rate_factors or {}, accelerator.scaler)
        parameters = list(trainable(denoiser).values())
        first = checkpoint.restore(state) if checkpoint else 0
        denoiser.train()
        with (
            _prepared(accelerator, state) as (model, optimizer),
            seeded_dropout(self._device) as seed_dropout,
        ):
            for step in range(first, recipe.steps):
                on_step(step)
                seed_dropout(stream.at(step, "dropout").seed)
                set_rate(optimizer, recipe.rate(step))
                batch = draw_batch(recipe, examples, stream.at(step), self.loss.n_timesteps)
                loss = self.loss(model, *batch, stream.at(step))
                accelerator.backward(-loss if ascend else loss)
                accelerator.clip_grad_norm_(parameters, recipe.gradient_clip)
                optimizer.step()
                optimizer.zero_grad()
                state.average.step(parameters)
                if checkpoint:
                    checkpoint.offer(step + 1, state)
        on_step(recipe.steps)
        return dict(zip(trainable(denoiser), state.average.shadow_params, strict=True))

    def gradients(
        self, denoiser: nn.Module, examples: Tensor, batch_size: int, stream: Stream
    ) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Yield the size of each batch and the gradient of its mean loss by parameter name.

        Every example is visited once, at a timestep and with noise that its id decides, without
        dropout.
        """
        parameters = trainable(denoiser)
        denoiser.eval()
        for ids in examples.split(batch_size):
            timesteps = stream.at("time").integers(ids, self.loss.n_timesteps)
            with self._accelerator.autocast():
                loss = self.loss(denoiser, ids, timesteps, None, stream)
            found = torch.autograd.grad(loss, list(parameters.values()))
            yield len(ids), dict(zip(parameters, found, strict=True))

    def autocast(self) -> AbstractContextManager[None]:
        """Return a context in which a denoiser computes with this machine's precision."""
        return self._accelerator.autocast()


def draw_batch(
    recipe: Recipe, examples: Tensor, stream: Stream, n_timesteps: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the ids (B,) of a step's examples, their timesteps, and which to mirror, or None.

    `stream` is that of the step.
    """
    ids = stream.at("batch").choose(examples, recipe.batch_size)
    flipped = stream.at("flip").integers(ids, 2).bool() if recipe.horizontal_flip else None
    draw = antithetic_timesteps if recipe.timesteps == "antithetic" else _uniform_timesteps
    return ids, draw(stream.at("time"), ids, n_timesteps), flipped


def antithetic_timesteps(stream: Stream, ids: Tensor, n_timesteps: int) -> Tensor:
    """Return timesteps, int64 (N,), the second half mirroring the first: t and T - 1 - t.

    Source: the pairing of the authors' training loop (Song et al.'s DDIM code before them).
    """
    half = stream.integers(ids[: len(ids) // 2 + 1], n_timesteps)
    return torch.cat([half, n_timesteps - 1 - half])[: len(ids)]


def _uniform_timesteps(stream: Stream, ids: Tensor, n_timesteps: int) -> Tensor:
    return stream.integers(ids, n_timesteps)


def _initial_state(
    denoiser: nn.Module, recipe: Recipe, rate_factors: Mapping[str, float], scaler: Any
) -> TrainingState:
    parameters = trainable(denoiser)
    optimizer = make_optimizer(parameters, recipe, rate_factors)
    average = EMAModel(parameters.values(), decay=recipe.ema_decay, foreach=True)
    return TrainingState(denoiser, optimizer, average, scaler)


def make_optimizer(
    parameters: Mapping[str, Tensor], recipe: Recipe, rate_factors: Mapping[str, float]
) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe for parameters by name; see Trainer.train."""
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in parameters.items():
        factor = next((f for key, f in rate_factors.items() if key in name), 1.0)
        groups.setdefault(factor, []).append(parameter)
    return _optimizer(recipe)(
        [{"params": members, _FACTOR: factor} for factor, members in groups.items()],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )


def _optimizer(recipe: Recipe) -> Callable[..., torch.optim.Optimizer]:
    if recipe.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise ConfigError(
                "optimizer: adamw8bit needs the package bitsandbytes and a CUDA device "
                f"({error}); install it, or choose adamw, which takes more memory"
            ) from error
        return AdamW8bit
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return lambda groups, **settings: kind(groups, fused=True, **settings)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters its share of a step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_FACTOR]


@contextmanager
def _prepared(accelerator: Accelerator, state: TrainingState) -> Iterator[tuple[nn.Module, Any]]:
    """Let accelerate cast the denoiser's calls, and give the bare denoiser back afterwards."""
    model, optimizer = accelerator.prepare(state.denoiser, state.optimizer)
    try:
        yield model, optimizer
    finally:
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)


@contextmanager
def seeded_dropout(device: torch.device) -> Iterator[Callable[[int], None]]:
    """Yield what seeds the global generators, which only dropout draws from; restore them after."""

    def seed_generators(seed: int) -> None:
        # torch.manual_seed would reseed devices that are not forked, too
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield seed_generators


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Return the accelerator for a device (cpu, cuda) and a precision (no, bf16, fp16)."""
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)


def partial_checkpoint(folder: Path, every_seconds: float, identity: str) -> TrainingCheckpoint:
    """Return the checkpoint of an unfinished training in an artifact's folder."""
    return TrainingCheckpoint(
        folder / "checkpoint" / "training.safetensors", every_seconds, identity
    )
