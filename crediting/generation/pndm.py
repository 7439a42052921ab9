"""PNDM sampling (Liu et al., 2022), the default of Stable Diffusion 1, as in the paper."""

from typing import Any

from crediting.generation.sampling import SchedulerSampling


class Pndm(SchedulerSampling):
    """Pseudo linear multistep sampling without Runge-Kutta steps, leading timestep spacing.

    The second step is taken twice, so n steps call the denoiser n + 1 times.
    """

    @staticmethod
    def make_scheduler(noise_scheduler: Any) -> Any:
        """Return the sampling scheduler for a model's own noise scheduler."""
        from diffusers import PNDMScheduler

        return PNDMScheduler.from_config(
            noise_scheduler.config,
            timestep_spacing="leading",
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        )
