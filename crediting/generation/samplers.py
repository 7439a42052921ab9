"""The samplers to choose from: each is a scheduler of diffusers, and what it is set to.

DDIM (Song et al., 2021) and PNDM (Liu et al., 2022; the default of Stable Diffusion 1) as in the
paper; DPM-Solver++ (Lu et al., 2022) has the quality of many DDIM steps in 15 to 25.
"""

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


class DpmSolver(SchedulerSampling):
    """Second-order multistep DPM-Solver++, deterministic, its steps even in log-SNR.

    On the cosine schedule they are even in time: nearly all others would fall where images drown
    in noise.
    """

    @staticmethod
    def make_scheduler(noise_scheduler: Any) -> Any:
        """Return the sampling scheduler for a model's own noise scheduler."""
        from diffusers import DPMSolverMultistepScheduler

        return DPMSolverMultistepScheduler.from_config(
            noise_scheduler.config,
            timestep_spacing="linspace",
            # steps even in log-SNR: with few, even timesteps lose the details
            use_lu_lambdas=noise_scheduler.config.beta_schedule != "squaredcos_cap_v2",
            thresholding=bool(noise_scheduler.config.clip_sample),  # to [-1, 1], as DDIM clips
            sample_max_value=1.0,
            algorithm_type="dpmsolver++",
            solver_order=2,
        )


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
