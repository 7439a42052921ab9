"""The sampling loop that all generations share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from crediting.errors import ConfigError, EvaluationError
from crediting.interfaces import DiffusionModel
from crediting.randomness import Stream


class SchedulerSampling:
    """Draws images by running a diffusers noise scheduler backwards from fixed initial noise.

    Image i starts from the same noise in every coalition and whatever the batch size; samplers
    are deterministic given that noise.

    Args:
        images: how many images are drawn from each model.
        steps: how many denoiser calls each image takes.
        batch_size: how many images are drawn at once; it does not change them.
        make_scheduler: from the model's own noise scheduler to the one that samples.
    """

    def __init__(
        self, images: int, steps: int, batch_size: int, make_scheduler: Callable[[Any], Any]
    ) -> None:
        for key, value in (("images", images), ("steps", steps), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"generation.{key}: expected 1 or more, got {value}")
        self.images = images
        self.steps = steps
        self.batch_size = batch_size
        self._make_scheduler = make_scheduler

    @torch.inference_mode()
    def generate(self, denoiser: nn.Module, model: DiffusionModel, seed: int) -> torch.Tensor:
        """Return images, uint8 (images, C, H, W), on the device of the denoiser.

        Raises:
            ConfigError: there are more steps than timesteps of the model to go through.
            EvaluationError: the denoiser gives NaN or infinity, which pixels could not show.
        """
        denoiser.eval()
        device = next(denoiser.parameters()).device
        noise = Stream("generation", seed)
        batches = torch.arange(self.images, device=device).split(self.batch_size)
        return torch.cat(
            [model.decode(self._denoise(denoiser, model, noise, ids)) for ids in batches]
        )

    def _denoise(
        self, denoiser: nn.Module, model: DiffusionModel, noise: Stream, ids: torch.Tensor
    ) -> torch.Tensor:
        # a multistep scheduler carries state from step to step, so every batch gets its own
        scheduler = self._scheduler(model)
        latents = noise.normal(ids, model.latent_shape()) * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            prediction = denoiser(scheduler.scale_model_input(latents, timestep), timestep).sample
            latents = scheduler.step(prediction.float(), timestep, latents).prev_sample
        if not torch.isfinite(latents).all():
            raise EvaluationError(
                "the denoiser generates NaN or infinity instead of images, which usually means "
                "that its training diverged; lower the learning rate"
            )
        return latents

    def _scheduler(self, model: DiffusionModel) -> Any:
        scheduler = self._make_scheduler(model.noise_scheduler())
        timesteps = scheduler.config.num_train_timesteps
        if self.steps <= timesteps:
            scheduler.set_timesteps(self.steps)
            if len(scheduler.timesteps.unique()) == self.steps:
                return scheduler
        raise ConfigError(
            f"generation.steps: {self.steps} steps do not fall on different ones of the "
            f"{timesteps} timesteps of the model; take fewer"
        )
