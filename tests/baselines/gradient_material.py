"""Small stand-ins for what baselines of gradients look at: see interfaces.Material."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel, UNet2DModel
from tiny_unet import unet
from torch import Tensor, nn

from crediting import lora
from crediting.randomness import Stream
from crediting.training.examples import Examples

OWNERS = np.array([1, 0, 2, 0, -1, 1, 2])
PROMPTS = 2


def normal(identity: str, count: int, *shape: int) -> Tensor:
    return Stream("test", identity).normal(torch.arange(count), shape)


@dataclass
class GradientMaterial:
    """What is remembered is kept in `stored`, and counted in `computed` when it is computed."""

    training: Examples
    generated: Examples
    make_denoiser: Callable[[], nn.Module]
    noise_scheduler: Any
    contributors: np.ndarray = field(default_factory=lambda: OWNERS)
    embedded_prompts: Tensor | None = None
    seed: int = 0
    stored: dict[str, Tensor] = field(default_factory=dict)
    computed: Counter[str] = field(default_factory=Counter)
    properties: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64
    device = torch.device("cpu")

    @property
    def n_contributors(self) -> int:
        return int(self.contributors.max()) + 1

    @property
    def model(self) -> Any:
        shape = tuple(self.training.latents.shape[1:])
        return SimpleNamespace(
            noise_scheduler=lambda: self.noise_scheduler, latent_shape=lambda: shape
        )

    @property
    def generation(self) -> Any:
        return SimpleNamespace(images=len(self.generated), at_once=lambda device: self.batch_size)

    def examples(self, which: str) -> Examples:
        return {"training": self.training, "generated": self.generated}[which]

    def prompts(self) -> Tensor | None:
        return self.embedded_prompts

    def denoiser(self) -> nn.Module:
        return self.make_denoiser().eval()

    def remember(
        self, what: str, settings: Mapping[str, Any], compute: Callable[[], Tensor]
    ) -> Tensor:
        key = str((what, sorted(settings.items())))
        if key not in self.stored:
            self.computed[key] += 1
            self.stored[key] = compute()
        return self.stored[key]


def fresh(material: GradientMaterial, **changes: Any) -> GradientMaterial:
    """Return the same with nothing remembered."""
    return replace(material, **{"stored": {}, "computed": Counter(), **changes})


def reordered(material: GradientMaterial, seed: int) -> GradientMaterial:
    """Return the same, nothing remembered, with the training examples in another order."""
    order = np.random.default_rng(seed).permutation(len(material.contributors))
    rows, old = torch.from_numpy(order), material.training
    moved = replace(
        old,
        latents=old.latents[rows],
        deviations=None if old.deviations is None else old.deviations[rows],
        caption_of=None if old.caption_of is None else old.caption_of[rows],
    )
    return fresh(material, training=moved, contributors=material.contributors[order])


# ------------------------------------------------------------------------------ three settings


def pixels() -> GradientMaterial:
    """A DDPM of the digits' kind."""
    return GradientMaterial(
        Examples(normal("training", len(OWNERS), 1, 4, 4).clamp(-1, 1), in_pixels=True),
        Examples(normal("generated", 5, 1, 4, 4).clamp(-1, 1), in_pixels=True),
        unet,
        DDPMScheduler(),
    )


def latents() -> GradientMaterial:
    """A latent diffusion model with attention, whose training examples are posteriors."""
    return GradientMaterial(
        Examples(
            normal("training", len(OWNERS), 3, 8, 8),
            deviations=normal("deviations", len(OWNERS), 3, 8, 8).abs(),
        ),
        Examples(normal("generated", 5, 3, 8, 8)),
        attention_unet,
        DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False
        ),
    )


def stable_diffusion() -> GradientMaterial:
    """Stable Diffusion of which only adapters are trained, with captions and prompts."""
    captions = normal("captions", 3, 4, 8)
    prompts = normal("prompts", 1 + PROMPTS, 4, 8)
    return GradientMaterial(
        Examples(
            normal("training", len(OWNERS), 4, 4, 4),
            captions=captions,
            caption_of=torch.arange(len(OWNERS)) % 3,
        ),
        Examples(
            normal("generated", 5, 4, 4, 4),
            captions=prompts[1:],
            caption_of=torch.arange(5) % PROMPTS,
        ),
        adapted_unet,
        DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        embedded_prompts=prompts,
    )


SETTINGS = {"pixels": pixels, "latents": latents, "stable_diffusion": stable_diffusion}


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return make()


def attention_unet() -> nn.Module:
    return seeded(
        lambda: UNet2DModel(
            sample_size=8,
            in_channels=3,
            out_channels=3,
            block_out_channels=(4, 8),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,
            norm_num_groups=2,
        )
    )


def adapted_unet() -> nn.Module:
    """Return a U-Net whose adapters do something, its own weights frozen."""
    denoiser = seeded(
        lambda: UNet2DConditionModel(
            sample_size=4,
            in_channels=4,
            out_channels=4,
            block_out_channels=(4, 8),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=2,
            norm_num_groups=2,
        )
    )
    names = lora.target_names(denoiser, ["to_q", "to_k", "to_v", "to_out.0"])
    lora.attach(denoiser, dict.fromkeys(names, 2), scale=1.0, dropout=0.1, seed=0)
    for index, (_, up) in enumerate(lora.factors(denoiser).values()):
        up.data = 0.3 * normal(f"up {index}", len(up), *up.shape[1:])
    return denoiser


# ------------------------------------------------------------------------------ a linear model


class LinearDenoiser(nn.Module):
    """Predicts J(x, t) theta, where row i of J is a fixed nonlinear function of x and t."""

    def __init__(self, theta: Tensor, points: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta.clone())
        self.register_buffer("mixing", normal("mixing", points, points, len(theta)))

    def jacobian(self, sample: Tensor, timesteps: Tensor) -> Tensor:
        """Return J, (n, m, p)."""
        shifted = sample.flatten(1) + timesteps.view(-1, 1) / 1000
        return torch.einsum("nj,ijp->nip", shifted, self.mixing).tanh()

    def forward(self, sample: Tensor, timesteps: Tensor) -> Any:
        predicted = self.jacobian(sample, timesteps) @ self.theta
        return SimpleNamespace(sample=predicted.view_as(sample))


def linear(examples: int, images: int, points: int, theta: Tensor) -> GradientMaterial:
    """Return random points, each example the one of its contributor of 5, and such a model."""
    return GradientMaterial(
        Examples(normal("training", examples, 1, 1, points)),
        Examples(normal("generated", images, 1, 1, points)),
        lambda: LinearDenoiser(theta, points),
        DDPMScheduler(),
        contributors=np.arange(examples) % 5,
    )
