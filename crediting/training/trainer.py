"""The one training loop: base training, recovery after pruning and every fine-tuning use it.

All examples lie in model space on the device; a coalition is a set of indices into them. Batches,
timesteps, noise, flips and dropout are functions of (stream, step, image ids), so a run that was
killed and resumed, or ran on another worker, takes the same steps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from crediting.errors import ConfigError
from crediting.halving import Portion
from crediting.randomness import Stream
from crediting.training.batches import draw_batch
from crediting.training.checkpoint import TrainingCheckpoint, TrainingState, trainable
from crediting.training.compiling import Compiler, as_it_is
from crediting.training.cuda_graphs import ReplayedDenoiser, Tape
from crediting.training.distributed import share_of
from crediting.training.examples import Examples
from crediting.training.loss import DenoisingLoss
from crediting.training.optimizers import find_optimizer, make_average, make_optimizer, set_rate
from crediting.training.recipe import BatchGradient, Recipe, Training
from crediting.training.stepping import draws_at_random, make_step

_SCALES = (2.0**14, 2.0**7, 1.0)
"""Of the loss where gradients are taken in fp16: the largest that gives finite ones."""


class Trainer:
    """Trains denoisers on examples that stay on the device.

    Processes that were started by `distributed.run_together` share a training if all of them call
    `train` alike; the first of them saves. Their number changes dropout, and else only rounding.

    Args:
        examples: all training examples in model space.
        noise_scheduler: diffusers scheduler of the forward process.
        accelerator: device and precision.
        gradient_checkpointing: whether activations are computed again where gradients need them,
            instead of kept: less memory, more time, the same results up to rounding.
        compiled: how the calls of denoisers are compiled; not where processes share a training.
        make_tape: makes what records steps on the device and replays them, or None. Steps are not
            recorded where processes share a training, in fp16, with gradient checkpointing or an
            optimizer of eight bits, or where the denoiser has dropout.
    """

    def __init__(
        self,
        examples: Examples,
        noise_scheduler: Any,
        accelerator: Accelerator,
        gradient_checkpointing: bool = False,
        compiled: Compiler = as_it_is,
        make_tape: Callable[[], Tape] | None = None,
    ) -> None:
        self.loss = DenoisingLoss(examples, noise_scheduler)
        self._accelerator = accelerator
        self._checkpointing = gradient_checkpointing
        self.compiled = compiled
        self._tape = make_tape() if make_tape else None
        self.device = examples.device
        """Where the examples are, and denoisers must be."""
        self._portions: dict[int, Portion] = {}

    def check(self, recipe: Recipe) -> None:
        """Raise ConfigError if a recipe asks for what these examples or this machine lack."""
        find_optimizer(recipe)
        if recipe.horizontal_flip and not self.loss.examples.can_mirror:
            raise ConfigError(
                "horizontal_flip: the latents of mirrored images are needed, and only the images "
                "as they are were encoded; set model.mirror=true, or horizontal_flip=false"
            )

    def train(
        self,
        training: Training,
        stream: Stream,
        checkpoint: TrainingCheckpoint | None = None,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> dict[str, Tensor]:
        """Do a training and return the averaged (EMA) trainable parameters by name.

        Args:
            training: of a denoiser on the device of the examples.
            stream: the identity of the randomness.
            checkpoint: where a long training is saved and resumed from.
            on_step: told the number of finished steps.

        Raises:
            ConfigError: mirrored images are asked for, and nobody encoded them; the optimizer is
                not installed; or the denoiser has no gradient checkpointing.
        """
        denoiser, recipe, examples = training.denoiser, training.recipe, training.examples
        assert len(examples) > 0, "there is nothing to train on"
        self.check(recipe)
        # one per training: it remembers all that it ever prepared, and the scale of the fp16 loss
        accelerator = make_accelerator(self.device.type, self._accelerator.mixed_precision)
        alone = accelerator.num_processes == 1  # others would wait for as many parts as theirs
        tape, portion = (self.tape(denoiser, recipe), self.portion(1)) if alone else (None, None)
        by_name = trainable(denoiser)
        parameters = list(by_name.values())
        optimizer = make_optimizer(by_name, recipe, training.rate_factors, bool(tape))
        average = make_average(parameters, recipe)
        state = TrainingState(denoiser, optimizer, average, accelerator.scaler)
        first = checkpoint.restore(state) if checkpoint else 0
        denoiser.train()
        with (
            gradient_checkpointing(denoiser, self._checkpointing),
            _prepared(accelerator, state, self.compiled) as (model, stepped),
            seeded_dropout(self.device) as seed_dropout,
        ):
            clip = partial(accelerator.clip_grad_norm_, parameters, recipe.gradient_clip)
            do = make_step(model, accelerator.backward, clip, stepped, tape, portion)
            for step in range(first, recipe.steps):
                on_step(step)
                seed_dropout(stream.at(step, "dropout").seed + accelerator.process_index)
                set_rate(stepped, recipe.rate(step))
                batch = draw_batch(recipe, examples, stream.at(step), self.loss.n_timesteps)
                part, weight = share_of(batch, accelerator.process_index, accelerator.num_processes)
                do(self.loss.pose(*part, stream.at(step)), -weight if training.ascend else weight)
                average.step(parameters)
                if checkpoint and accelerator.is_main_process:
                    checkpoint.offer(step + 1, state)
        on_step(recipe.steps)
        return dict(zip(by_name, average.shadow_params, strict=True))

    def gradients(
        self, denoiser: nn.Module, examples: Tensor, batch_size: int, stream: Stream
    ) -> Iterator[BatchGradient]:
        """Yield the loss of each batch and its gradient.

        Every example is visited once, at a timestep and with noise that its id decides, without
        dropout.
        """
        parameters = trainable(denoiser)
        denoiser.eval()
        for ids in examples.split(batch_size):
            timesteps = stream.at("time").integers(ids, self.loss.n_timesteps)
            with gradient_checkpointing(denoiser, self._checkpointing):
                with self._accelerator.autocast():
                    loss = self.loss(denoiser, ids, timesteps, None, stream)
                found = self._gradient(loss, list(parameters.values()))
            entries = self.loss.examples.latents[0].numel()
            by_name = dict(zip(parameters, found, strict=True))
            yield BatchGradient(len(ids), loss.item(), entries, by_name)

    def _gradient(self, loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradient of a loss; in fp16 of a multiple, lest small numbers become 0."""
        scales = _SCALES if self._accelerator.mixed_precision == "fp16" else (1.0,)
        for scale in scales:
            found = torch.autograd.grad(scale * loss, parameters, retain_graph=scale > 1)
            if scale == 1 or all(bool(one.isfinite().all()) for one in found):
                break
        return [one / scale for one in found]

    @property
    def can_stack(self) -> bool:
        """Whether several trainings can be one: there would be one scale of the loss in fp16.

        Nor can activations be computed again under torch.func's transforms.
        """
        return self._accelerator.mixed_precision != "fp16" and not self._checkpointing

    def tape(self, denoiser: nn.Module, recipe: Recipe) -> Tape | None:
        """Return what records the steps of a training of this process, if they can be."""
        cannot = not self.can_stack or draws_at_random(denoiser)
        return None if cannot or recipe.optimizer == "adamw8bit" else self._tape

    def portion(self, stacked: int) -> Portion:
        """Return how many examples are worked on at once where so many trainings are stacked."""
        if stacked not in self._portions:
            batches = "a whole batch" if stacked == 1 else f"whole batches of {stacked} coalitions"
            self._portions[stacked] = Portion(
                f"train: not enough memory for {batches}; they are split, and the gradients of the "
                "parts added up: the same steps up to rounding, and other dropout"
            )
        return self._portions[stacked]

    def replayed(self, denoiser: nn.Module) -> ReplayedDenoiser | None:
        """Return what replays the calls of denoisers of one shape, if this machine records."""
        if self._tape is None:
            return None
        return ReplayedDenoiser(denoiser, self.compiled, self._tape)

    def autocast(self) -> AbstractContextManager[None]:
        """Return a context in which a denoiser computes with this machine's precision."""
        return self._accelerator.autocast()


@contextmanager
def _prepared(
    accelerator: Accelerator, state: TrainingState, compiled: Compiler
) -> Iterator[tuple[Callable, Any]]:
    """Let accelerate cast the denoiser's calls, and give the bare denoiser back afterwards."""
    if compiled is not as_it_is and accelerator.num_processes == 1:
        # accelerate's cast is another function for every denoiser: each would be compiled anew
        optimizer = accelerator.prepare(state.optimizer)
        try:
            yield _cast(accelerator, compiled(state.denoiser)), optimizer
        finally:
            _untied(optimizer)
        return
    own = vars(state.denoiser).get("forward")
    model, optimizer = accelerator.prepare(state.denoiser, state.optimizer)
    try:
        yield model, optimizer
    finally:
        _untied(optimizer)
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        # what else it leaves: with this mark, a second training would not be cast
        vars(state.denoiser).pop("_is_accelerate_prepared", None)
        if own is None:  # what accelerate puts back refers to the denoiser, which would outlive us
            vars(state.denoiser).pop("forward", None)


def _untied(optimizer: Any) -> None:
    """Undo what accelerate does to watch the steps of fp16: it refers to itself, and would stay."""
    vars(optimizer.optimizer).pop("step", None)
    for name in ("_optimizer_patched_step_method", "_optimizer_original_step_method"):
        vars(optimizer).pop(name, None)


def _cast(accelerator: Accelerator, model: Callable) -> Callable:
    def call(*inputs: Any, **conditions: Any) -> Any:
        with accelerator.autocast():
            return model(*inputs, **conditions)

    return call


@contextmanager
def gradient_checkpointing(denoiser: nn.Module, wanted: bool) -> Iterator[None]:
    """Let a denoiser compute activations again instead of keeping them, if that is wanted.

    Raises:
        ConfigError: it cannot.
    """
    if not wanted:
        yield
        return
    network: Any = denoiser
    if not getattr(network, "_supports_gradient_checkpointing", False):
        raise ConfigError(
            "runtime.gradient_checkpointing: expected a denoiser that has it, as the U-Nets of "
            f"diffusers do, got a {type(denoiser).__name__}; set it to false"
        )
    network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        network.disable_gradient_checkpointing()


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


def partial_checkpoint(
    folder: Path, every_seconds: float, identity: str, end: int | None = None
) -> TrainingCheckpoint:
    """Return the checkpoint of an unfinished training in an artifact's folder."""
    path = folder / "checkpoint" / "training.safetensors"
    return TrainingCheckpoint(path, every_seconds, identity, end)
