"""PNDM sampling (Liu et al., 2022), the default of Stable Diffusion 1, as in the paper."""

from collections.abc import Sequence
from typing import Any

from diffusers import PNDMScheduler

from crediting.generation.sampling import SchedulerSampling


class Pndm(SchedulerSampling):
    """Pseudo linear multistep sampling without Runge-Kutta steps, leading timestep spacing.

    The second step is taken twice, so n steps call the denoiser n + 1 times.
    """

    def __init__(
        self,
        images: int,
        steps: int,
        batch_size: int,
        prompts: Sequence[str] | str | None,
        guidance: float | None,
    ) -> None:
        super().__init__(images, steps, batch_size, prompts, guidance, _pndm)


def _pndm(noise_scheduler: Any) -> PNDMScheduler:
    return PNDMScheduler.from_config(
        noise_scheduler.config,
        timestep_spacing="leading",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
