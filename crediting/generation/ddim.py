"""DDIM sampling (Song et al., 2021), deterministic, as in the paper."""

from collections.abc import Sequence
from typing import Any

from diffusers import DDIMScheduler

from crediting.generation.sampling import SchedulerSampling


class Ddim(SchedulerSampling):
    """DDIM with eta = 0 and leading timestep spacing."""

    def __init__(
        self,
        images: int,
        steps: int,
        batch_size: int,
        prompts: Sequence[str] | str | None,
        guidance: float | None,
    ) -> None:
        super().__init__(images, steps, batch_size, prompts, guidance, _ddim)


def _ddim(noise_scheduler: Any) -> DDIMScheduler:
    return DDIMScheduler.from_config(
        noise_scheduler.config, timestep_spacing="leading", set_alpha_to_one=True
    )
