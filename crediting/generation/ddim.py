"""DDIM sampling (Song et al., 2021), deterministic, as in the paper."""

from typing import Any

from crediting.generation.sampling import SchedulerSampling


class Ddim(SchedulerSampling):
    """DDIM with eta = 0 and leading timestep spacing."""

    @staticmethod
    def make_scheduler(noise_scheduler: Any) -> Any:
        """Return the sampling scheduler for a model's own noise scheduler."""
        from diffusers import DDIMScheduler

        return DDIMScheduler.from_config(
            noise_scheduler.config, timestep_spacing="leading", set_alpha_to_one=True
        )
