"""DDIM sampling (Song et al., 2021), deterministic, as in the paper."""

from typing import Any

from diffusers import DDIMScheduler

from crediting.generation.sampling import SchedulerSampling


class Ddim(SchedulerSampling):
    """DDIM with eta = 0 and leading timestep spacing."""

    @staticmethod
    def make_scheduler(noise_scheduler: Any) -> DDIMScheduler:
        """Return the sampling scheduler for a model's own noise scheduler."""
        return DDIMScheduler.from_config(
            noise_scheduler.config, timestep_spacing="leading", set_alpha_to_one=True
        )
