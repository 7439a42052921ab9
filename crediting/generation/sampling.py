"""The sampling loop that all generations share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from crediting.errors import ConfigError, EvaluationError
from crediting.halving import in_halves
from crediting.interfaces import DiffusionModel
from crediting.progress import say
from crediting.randomness import Stream

CAPTIONS = "captions"
"""Instead of a list of prompts: distinct captions of the dataset, no more than images are drawn."""

MOST_AT_ONCE = {"cpu": 128, "cuda": 1024}
"""Images that `auto` draws at once: more leave a processor's caches, and do not make a GPU faster.
"""

Predict = Callable[[Tensor, Tensor], Tensor]


class SchedulerSampling(ABC):
    """Draws images by running a diffusers noise scheduler backwards from fixed initial noise.

    Image i starts from the same noise in every coalition and whatever the batch size; samplers
    are deterministic given that noise.

    Args:
        images: how many images are drawn from each model.
        steps: how many denoiser calls each image takes.
        batch_size: how many images are drawn at once, or auto: 128 on a processor, 1,024 on a GPU.
            It does not change them. Where a GPU has not the memory, it is halved for good.
        prompts: what a conditional model draws in turn, a list or "captions"; else null.
        guidance: weight w of classifier-free guidance, e + w (c - e) of the predictions with the
            prompt (c) and with the empty one (e), or null for the plain prediction c (Ho and
            Salimans, 2022).
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("batch_size",)

    @staticmethod
    @abstractmethod
    def make_scheduler(noise_scheduler: Any) -> Any:
        """Return the diffusers scheduler that samples, given the model's own."""

    def __init__(
        self,
        images: int,
        steps: int,
        batch_size: int | Literal["auto"],
        prompts: Sequence[str] | str | None,
        guidance: float | None,
    ) -> None:
        for key, value in (("images", images), ("steps", steps), ("batch_size", batch_size)):
            if value != "auto" and value < 1:
                raise ConfigError(f"generation.{key}: expected 1 or more, got {value}")
        if isinstance(prompts, str) and prompts != CAPTIONS:
            raise ConfigError(
                f"generation.prompts: expected a list, {CAPTIONS} or null, got {prompts!r}; "
                f"put it in brackets: generation.prompts=['{prompts}']"
            )
        if guidance is not None and prompts is None:
            raise ConfigError(
                f"generation.guidance: {guidance} strengthens the effect of prompts, and there "
                "are none; set generation.prompts, or generation.guidance=null"
            )
        if prompts is not None and not len(prompts):
            raise ConfigError("generation.prompts: expected at least one prompt, got none")
        self.images = images
        self.steps = steps
        self._batch_size = batch_size
        self.prompts = prompts
        self.guidance = guidance
        self._halved = False

    def at_once(self, device: str) -> int:
        """Return how many images are drawn at once on a kind of device (cpu, cuda)."""
        most = MOST_AT_ONCE[device] if self._batch_size == "auto" else self._batch_size
        return min(most, self.images)

    def check(self, model: DiffusionModel) -> None:
        """Raise ConfigError if there are more steps than timesteps of the model to go through."""
        self._scheduler(model)

    @torch.inference_mode()
    def generate(
        self, denoiser: nn.Module, model: DiffusionModel, seed: int, prompts: Tensor | None
    ) -> Tensor:
        """Return images, uint8 (images, C, H, W), on the device of the denoiser.

        Args:
            denoiser: a coalition's.
            model: its family.
            seed: of the initial noise.
            prompts: embedded, (1 + k, tokens, width), the empty one first; None if unconditional.

        Raises:
            ConfigError: there are more steps than timesteps of the model to go through.
            EvaluationError: the denoiser gives NaN or infinity, which pixels could not show.
            torch.OutOfMemoryError: there is not the memory for a single image.
        """
        denoiser.eval()
        device = next(denoiser.parameters()).device
        noise = Stream("generation", seed)

        def drawn(ids: Tensor) -> Tensor:
            return model.decode(_finite(self._denoise(denoiser, model, noise, ids, prompts)))

        everything = torch.arange(self.images, device=device)
        return torch.cat(in_halves(drawn, everything, self.at_once(device.type), self._halve))

    def _halve(self, size: int) -> None:
        if not self._halved:
            say(
                f"generate: not enough memory for {size} images at once; going on with as many as "
                "fit (halves, quarters ...). generation.batch_size sets how many, and changes none"
            )
        self._halved = True
        self._batch_size = size // 2

    def _denoise(
        self,
        denoiser: nn.Module,
        model: DiffusionModel,
        noise: Stream,
        ids: Tensor,
        prompts: Tensor | None,
    ) -> Tensor:
        # a multistep scheduler carries state from step to step, so every batch gets its own
        scheduler = self._scheduler(model)
        predict = self._predictor(denoiser, ids, prompts)
        latents = noise.normal(ids, model.latent_shape()) * scheduler.init_noise_sigma
        # schedulers reckon on the CPU; the denoiser is handed what lies on its device, because a
        # number copied there at every step would make the CPU wait for the GPU
        on_device = scheduler.timesteps.to(latents.device)
        for timestep, shown in zip(scheduler.timesteps, on_device, strict=True):
            prediction = predict(scheduler.scale_model_input(latents, timestep), shown)
            latents = scheduler.step(prediction.float(), timestep, latents).prev_sample
        return latents

    def _predictor(self, denoiser: nn.Module, ids: Tensor, prompts: Tensor | None) -> Predict:
        """Return what predicts the noise in the latents of images, with their prompts."""
        if prompts is None:
            return lambda latents, timestep: denoiser(latents, timestep).sample
        own = prompts[1 + ids % (len(prompts) - 1)]
        weight = self.guidance
        if weight is None:
            return lambda latents, timestep: denoiser(latents, timestep, own).sample
        both = torch.cat([prompts[:1].expand_as(own), own])

        def guided(latents: Tensor, timestep: Tensor) -> Tensor:
            predicted = denoiser(torch.cat([latents, latents]), timestep, both).sample
            empty, shown = predicted.float().chunk(2)  # in half the difference would be of few bits
            return empty + weight * (shown - empty)

        return guided

    def _scheduler(self, model: DiffusionModel) -> Any:
        own = model.noise_scheduler()
        try:
            scheduler = self.make_scheduler(own)
        except (NotImplementedError, ValueError) as error:
            raise ConfigError(
                f"generation: the sampler cannot follow the noise schedule of the model: {error}; "
                "choose another generation, or another model.noise.beta_schedule"
            ) from error
        if not torch.allclose(scheduler.alphas_cumprod, own.alphas_cumprod, rtol=1e-4, atol=1e-7):
            raise ConfigError(
                f"generation: {type(scheduler).__name__} cannot follow the noise schedule of the "
                "model, such as one rescaled to end in pure noise; choose generation=ddim"
            )
        timesteps = scheduler.config.num_train_timesteps
        if self.steps <= timesteps:
            scheduler.set_timesteps(self.steps)
            chosen = scheduler.timesteps.unique()
            if len(chosen) == self.steps and chosen[-1] < timesteps:
                return scheduler
        raise ConfigError(
            f"generation.steps: {self.steps} steps do not fall on different ones of the "
            f"{timesteps} timesteps of the model; take fewer"
        )


def _finite(latents: Tensor) -> Tensor:
    if not torch.isfinite(latents).all():
        raise EvaluationError(
            "the denoiser generates NaN or infinity instead of images, which usually means "
            "that its training diverged; lower the learning rate"
        )
    return latents
