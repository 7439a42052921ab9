"""Influence on the way on which images were generated, instead of on the images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crediting.baselines.kernel_scores import Trak
from crediting.baselines.settings import check_positive
from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, Material, Planned
from crediting.randomness import Stream
from crediting.training.examples import Examples


@dataclass(frozen=True)
class JourneyTrak(Trak):
    """TRAK of the intermediate latents of sampling, averaged over the points of the way.

    The full model draws images of its own by deterministic DDIM. As in the paper (ArtBench), a
    latent on the way is treated as an image, at the timestep alone that led to it, with one noise.

    Args:
        generated: how many images are drawn; null is as many as `generation.images`.
        steps: of sampling.
        every: latents of each so many-th step are looked at, as far as the last.
        guidance: of a conditional model, or null; see `generation.guidance`.

    The others: see `Trak`; `timesteps` are those of the training examples.

    Source: Georgiev et al. 2023; the paper and the authors' code for ArtBench.
    """

    steps: int
    every: int
    guidance: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("steps", "every"):
            check_positive(key, getattr(self, key))
        if self.every > self.steps:
            raise ConfigError(f"every: expected at most steps={self.steps}, got {self.every}")

    def check(self, study: Planned) -> None:
        """Raise ConfigError if the model has too few timesteps, or there is nothing to guide by."""
        self._spaced(study.model)
        self._scheduler(study.model)
        self._check_guidance(study.model.conditional)

    def target(self, material: Material) -> Tensor:
        """Return the features of all points of all ways, float64 (m, d).

        Raises:
            ConfigError: the model has fewer timesteps than steps, or guidance nothing to guide by.
        """
        images = material.generation.images if self.generated is None else self.generated
        settings = {
            "which": "journey, at its own timesteps",
            "images": images,
            "steps": self.steps,
            "every": self.every,
            "guidance": self.guidance,
        }
        return self.of(material, self.output, settings, lambda: self._points(material, images))

    @torch.no_grad()
    def _points(self, material: Material, images: int) -> tuple[Examples, Tensor]:
        """Return the m points of all ways with the prompts they show, and timesteps (m, 1)."""
        prompts = material.prompts()
        self._check_guidance(prompts is not None)
        denoiser = material.denoiser()
        everything = torch.arange(images, device=material.device)
        points, shown, timesteps = [], [], []
        places = self._scheduler(material.model).timesteps[self.every - 1 :: self.every]
        for ids in everything.split(material.generation.at_once(material.device.type)):
            own = None if prompts is None else 1 + ids % (len(prompts) - 1)
            way = self._way(material, denoiser, ids, prompts, own)
            points.append(torch.cat(way))
            timesteps.append(places.repeat_interleave(len(ids)))
            if own is not None:
                shown.append(own.repeat(len(way)))
        caption_of = torch.cat(shown) if shown else None
        examples = Examples(torch.cat(points), captions=prompts, caption_of=caption_of)
        return examples, torch.cat(timesteps)[:, None]

    def _way(
        self,
        material: Material,
        denoiser: nn.Module,
        ids: Tensor,
        prompts: Tensor | None,
        own: Tensor | None,
    ) -> list[Tensor]:
        """Return the points on the way to some images, each (len(ids), *shape)."""
        scheduler = self._scheduler(material.model)
        predict = self._predictor(denoiser, prompts, own)
        latents = Stream("journey", material.seed).normal(ids, material.model.latent_shape())
        way = []
        on_device = scheduler.timesteps.to(latents.device)  # once: a copy per step would wait
        for step, timestep in enumerate(scheduler.timesteps, start=1):
            prediction = predict(latents, on_device[step - 1])
            latents = scheduler.step(prediction.float(), timestep, latents).prev_sample
            if step % self.every == 0:
                way.append(latents)
        return way

    def _predictor(
        self, denoiser: nn.Module, prompts: Tensor | None, own: Tensor | None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        if prompts is None or own is None:
            return lambda latents, timestep: denoiser(latents, timestep).sample
        shown, empty, weight = prompts[own], prompts[:1], self.guidance
        if weight is None:
            return lambda latents, timestep: denoiser(latents, timestep, shown).sample

        def guided(latents: Tensor, timestep: Tensor) -> Tensor:
            plain = denoiser(latents, timestep, empty.expand_as(shown)).sample
            return plain + weight * (denoiser(latents, timestep, shown).sample - plain)

        return guided

    def _check_guidance(self, reads_prompts: bool) -> None:
        if self.guidance is not None and not reads_prompts:
            raise ConfigError(
                f"guidance: {self.guidance} strengthens the effect of prompts, and this model "
                "reads none; set null"
            )

    def _scheduler(self, model: DiffusionModel) -> Any:
        from diffusers import DDIMScheduler

        config = model.noise_scheduler().config
        timesteps = config.num_train_timesteps
        if self.steps > timesteps:
            raise ConfigError(
                f"steps: expected at most the model's {timesteps} timesteps, got {self.steps}; "
                "lower it"
            )
        scheduler = DDIMScheduler.from_config(
            config, timestep_spacing="leading", set_alpha_to_one=True
        )
        scheduler.set_timesteps(self.steps)
        if scheduler.timesteps.max() >= timesteps:  # with an offset, as Stable Diffusion has
            raise ConfigError(
                f"steps: {self.steps} steps lead beyond the model's {timesteps} timesteps, which "
                f"are counted from {scheduler.config.steps_offset}; lower it"
            )
        return scheduler
