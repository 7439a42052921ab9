"""What all families share: facts of any U-Net of diffusers, and its noise process."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crediting.errors import ConfigError, is_out_of_memory
from crediting.interfaces import Prunable
from crediting.models.checkpoint import load_denoiser, save_denoiser
from crediting.models.pretrained import blaming, find_part, read_config

SCHEDULER = ("scheduler", "")
SCHEDULER_FILE = "scheduler_config.json"
NO_PRUNED_TWIN = (
    "model.pretrained: there is no untrained twin of a pruned pretrained U-Net; take v(N) and "
    "v(empty) from the dense model with endpoints=dense, or choose pruning=none."
)


class UNetFamily:
    """A family whose denoisers are U-Nets of diffusers: what pruning must know, and the disk."""

    def prunable(self, denoiser: nn.Module) -> Prunable:
        """Return that the output keeps its channels, and the heads of all attention."""
        from diffusers.models.attention_processor import Attention

        heads = {
            projection: attention.heads
            for attention in denoiser.modules()
            if isinstance(attention, Attention)
            for projection in (attention.to_q, attention.to_k, attention.to_v)
        }
        return Prunable(ignored_layers=[denoiser.conv_out], num_heads=heads)

    def save(self, folder: Path, denoiser: nn.Module, name: str) -> None:
        """Write `<name>.safetensors` and `architecture.json`."""
        save_denoiser(folder, denoiser, name)

    def load(self, folder: Path, name: str) -> nn.Module:
        """Return what `save` wrote, on the CPU.

        Raises:
            ArtifactError: a file is missing, cannot be read, or does not fit the other.
        """
        return load_denoiser(folder, name)


def example_inputs(denoiser: nn.Module, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return a point of a shape and its timestep, on the device of a denoiser."""
    device = device_of(denoiser)
    return {
        "sample": torch.zeros(1, *shape, device=device),
        "timestep": torch.zeros(1, dtype=torch.long, device=device),
    }


def as_published(published: nn.Module, denoiser: nn.Module) -> nn.Module:
    """Return the published U-Net on the device of a denoiser, which must be of the same shape.

    Raises:
        ConfigError: it is pruned.
    """
    expected, found = (
        {name: tensor.shape for name, tensor in network.state_dict().items()}
        for network in (published, denoiser)
    )
    if expected != found:
        raise ConfigError(NO_PRUNED_TWIN)
    return published.to(device_of(denoiser))


def published_noise(root: Path, unstated: Mapping[str, Any], **changes: Any) -> Any:
    """Return the DDPMScheduler that a pipeline's scheduler, of whatever class, stands for.

    `unstated` are its settings where the pipeline has none; diffusers would take those for pixels.

    Raises:
        ConfigError: it is of a process that has no betas, such as flow matching.
    """
    from diffusers import DDPMScheduler

    folder = find_part(root, SCHEDULER, "model.pretrained", SCHEDULER_FILE)
    config = read_config(folder / SCHEDULER_FILE, "model.pretrained")
    _check_process(config, folder / SCHEDULER_FILE)
    with blaming(folder / SCHEDULER_FILE, "model.pretrained"):
        scheduler = DDPMScheduler.from_config({**unstated, **config}, **changes)
    check_betas(scheduler, f"model.pretrained: {folder / SCHEDULER_FILE}")
    return scheduler


def check_betas(scheduler: Any, key: str) -> None:
    """Raise ConfigError unless every timestep turns a share of the image to noise."""
    betas = scheduler.betas
    if len(betas) == 0 or not ((betas >= 0) & (betas <= 1)).all():
        raise ConfigError(
            f"{key}: expected at least one timestep, and betas from 0 to 1, by which images turn "
            "to noise; correct num_train_timesteps, beta_start and beta_end"
        )


def _check_process(config: Mapping[str, Any], path: Path) -> None:
    import diffusers

    kind = config.get("_class_name")
    known = getattr(diffusers, str(kind), None)
    if known is None or "beta_schedule" in inspect.signature(known.__init__).parameters:
        return
    raise ConfigError(
        f"model.pretrained: expected a denoiser that was trained with a schedule of betas, as of "
        f"DDPM, got one of {kind}, another noise process, in {path}; choose another model."
    )


def check_positive(**settings: float) -> None:
    """Raise ConfigError if a setting of the model, given by its key, is not a positive number."""
    for key, value in settings.items():
        if not value > 0:
            raise ConfigError(f"model.{key}: expected a positive number, got {value}.")


def device_of(denoiser: nn.Module) -> torch.device:
    """Return the device that a denoiser is on."""
    return next(denoiser.parameters()).device


def build(kind: Callable[..., Any], arguments: Mapping[str, Any], key: str) -> Any:
    """Return an object of diffusers; ConfigError with the config's key if it refuses."""
    try:
        return kind(**arguments)
    except Exception as error:  # the library raises whatever it stumbles over
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"{key}: expected arguments of diffusers.{kind.__name__}, which refuses them: "
            f"{error}; correct them in configs/model or on the command line."
        ) from error


@contextmanager
def random_stream(seed: int) -> Iterator[None]:
    """Draw from a stream of one's own on the CPU; the global one continues as if nothing was."""
    # torch.manual_seed would also reseed every accelerator, which fork_rng then leaves changed.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def reset(module: nn.Module) -> None:
    """Initialise the parameters of one layer as torch does by default."""
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
        return
    # what is random and never trained, as in a Fourier embedding, is as it was before training
    own = [name for name, p in module.named_parameters(recurse=False) if p.requires_grad]
    assert not own, f"{type(module).__name__} cannot reinitialise its parameters {own}"
