"""The straightforward loop that speed is held against; written for comparison only.

It is what most code for such studies amounts to (paper, sections 2 and 4): one process, single
precision; a DataLoader turns images into tensors again for every batch, and where there is an
encoder of Stable Diffusion, it encodes them again; noise is drawn on the device as it comes; the
average of the weights is kept tensor by tensor; generated images are written as PNG files and read
back, and their features computed together with those of the reference.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

from crediting.training.recipe import Recipe

ToModelSpace = transforms.Compose([transforms.ToTensor(), transforms.Lambda(lambda x: 2 * x - 1)])


class Pictures(Dataset):
    """Images that are turned into tensors whenever they are asked for."""

    def __init__(self, images: torch.Tensor) -> None:
        self._images = [Image.fromarray(image.squeeze()) for image in as_arrays(images)]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return ToModelSpace(self._images[index])


def train(
    denoiser: nn.Module,
    data: Dataset,
    examples: Sequence[int],
    recipe: Recipe,
    alpha_bar: torch.Tensor,
    encode: Callable[[torch.Tensor], torch.Tensor] = lambda pixels: pixels,
    conditions: Mapping[str, torch.Tensor] = {},
) -> None:
    """Train a denoiser on examples with Adam; it ends with its averaged weights, if recipe has any.

    `conditions` are what it is called with besides, one for all examples.
    """
    device = alpha_bar.device
    parameters = [p for p in denoiser.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, recipe.learning_rate)
    average = EMAModel(parameters, decay=recipe.ema_decay) if recipe.ema_decay else None
    denoiser.train()
    batches = forever(Subset(data, examples), recipe.batch_size)
    for step, batch in zip(range(recipe.steps), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        clean = encode(batch.to(device))
        noise = torch.randn_like(clean)
        half = torch.randint(len(alpha_bar), (len(clean) // 2 + 1,), device=device)
        timesteps = torch.cat([half, len(alpha_bar) - 1 - half])[: len(clean)]
        share = alpha_bar[timesteps].view(-1, 1, 1, 1)
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        known = {key: one.expand(len(clean), -1, -1) for key, one in conditions.items()}
        loss = F.mse_loss(denoiser(noisy, timesteps, **known).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        optimizer.step()
        if average:
            average.step(parameters)
    if average:
        average.copy_to(parameters)


@torch.no_grad()
def sample(
    denoiser: nn.Module,
    model: Any,
    generation: Any,
    device: torch.device,
    prompts: torch.Tensor | None = None,
) -> Iterator[torch.Tensor]:
    """Yield batches of images, uint8 (B, C, H, W), on the CPU.

    `prompts` are the empty one and the one that is shown, with guidance of 7.5; or None.
    """
    denoiser.eval()
    scheduler = generation.make_scheduler(model.noise_scheduler())
    batch_size = generation.at_once(device.type)
    if device.type == "cpu":
        batch_size *= torch.get_num_threads()  # they divide every batch among them
    for first in range(0, generation.images, batch_size):
        count = min(batch_size, generation.images - first)
        points = torch.randn(count, *model.latent_shape(), device=device)
        scheduler.set_timesteps(generation.steps)
        for timestep in scheduler.timesteps:
            noise = predicted(denoiser, points, timestep, prompts)
            points = scheduler.step(noise, timestep, points).prev_sample
        yield model.decode(points).cpu()


def predicted(
    denoiser: nn.Module, points: torch.Tensor, timestep: Any, prompts: torch.Tensor | None
) -> torch.Tensor:
    if prompts is None:
        return denoiser(points, timestep).sample
    both = prompts.repeat_interleave(len(points), 0)
    empty, shown = denoiser(torch.cat([points, points]), timestep, both).sample.chunk(2)
    return empty + 7.5 * (shown - empty)


def write(folder: Path, batches: Iterator[torch.Tensor]) -> None:
    """Write images as PNG files."""
    folder.mkdir(exist_ok=True)
    images = np.concatenate([as_arrays(batch) for batch in batches])
    for number, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(folder / f"{number:06}.png")


def read(folder: Path) -> torch.Tensor:
    """Return the images of a folder, uint8 (N, C, H, W)."""
    arrays = [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))]
    stacked = torch.from_numpy(np.stack(arrays))
    return stacked[:, None] if stacked.dim() == 3 else stacked.permute(0, 3, 1, 2)


def forever(data: Subset, batch_size: int) -> Iterator[torch.Tensor]:
    """Yield batches, shuffled anew in every epoch; an incomplete last one is left out."""
    loader = DataLoader(data, min(batch_size, len(data)), shuffle=True, drop_last=True)
    while True:
        yield from loader


def as_arrays(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return images, uint8 (N, C, H, W), as arrays (N, H, W, C)."""
    return images.permute(0, 2, 3, 1).numpy()
