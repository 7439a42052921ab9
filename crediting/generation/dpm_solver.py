"""DPM-Solver++ sampling (Lu et al., 2022): the quality of many DDIM steps in 15 to 25."""

from typing import Any

from diffusers import DPMSolverMultistepScheduler

from crediting.generation.sampling import SchedulerSampling


class DpmSolver(SchedulerSampling):
    """Second-order multistep DPM-Solver++, deterministic."""

    def __init__(self, images: int, steps: int, batch_size: int) -> None:
        super().__init__(images, steps, batch_size, _dpm_solver)


def _dpm_solver(noise_scheduler: Any) -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler.from_config(
        _known(noise_scheduler.config), algorithm_type="dpmsolver++", solver_order=2
    )


def _known(config: Any) -> dict[str, Any]:
    """Return the part of a noise scheduler's config that DPM-Solver++ understands."""
    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    return {key: config[key] for key in keys}
