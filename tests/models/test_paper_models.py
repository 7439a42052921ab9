"""The options that stand for the paper's models: their sizes, and one step of each at full size."""

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.nn import functional as F

from crediting import lora
from crediting.config import CONFIG_DIR
from crediting.pruning.lora_ranks import pairs_to_keep
from crediting.randomness import Stream

SETTINGS = {
    "ddpm_cifar": (20_000, 128, "adam", 1e-4, 0.0, "constant", 0, 1.0, 0.9999, "antithetic", True),
    "ldm_celeba": (20_000, 32, "adamw", 1e-4, 0.0, "constant", 0, 1.0, 0.9999, "antithetic", False),
    "sd_lora": (15_800, 64, "adamw", 3e-4, 1e-6, "cosine", 500, 1.0, 0.0, "uniform", True),
}
SIZES = {"ddpm_cifar": 35_746_307, "ldm_celeba": 274_056_163}


def model_of(option):
    settings = OmegaConf.load(CONFIG_DIR / "model" / f"{option}.yaml")
    return instantiate(settings, _convert_="all")


def parameters(denoiser):
    return sum(p.numel() for p in denoiser.parameters() if p.requires_grad)


@pytest.mark.parametrize("option", SETTINGS)
def test_the_recipe_is_the_published_one(option):
    training = model_of(option).training
    settings = {**vars(training), "warmup": training.warmup_steps}
    assert tuple(settings.values()) == SETTINGS[option]


@pytest.mark.parametrize("option", ["ldm_celeba", "sd_lora", "sd"])
def test_images_are_encoded_mirrored_exactly_where_they_are_flipped(option):
    model = model_of(option)
    assert model.mirror == model.training.horizontal_flip


@pytest.mark.parametrize(
    ("option", "shape"), [("ddpm_cifar", (3, 32, 32)), ("ldm_celeba", (3, 64, 64))]
)
def test_points_have_the_published_shape(option, shape):
    assert model_of(option).latent_shape() == shape


def test_the_noise_of_faces_is_that_of_the_published_scheduler():
    published = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False
    )
    noise = model_of("ldm_celeba").noise_scheduler()
    assert torch.equal(noise.alphas_cumprod, published.alphas_cumprod)
    assert noise.config.clip_sample is False


def adapted_stable_diffusion():
    """Return the U-Net of Stable Diffusion 1.4 with the paper's adapters, without memory."""
    model = model_of("sd_lora")
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=32, cross_attention_dim=768, attention_head_dim=8, layers_per_block=2
        )
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    names = lora.target_names(unet, model.targets)
    lora.attach(unet, dict.fromkeys(names, model.rank), model.scale, 0.0, 0)
    return unet


def test_adapters_of_stable_diffusion_have_the_published_size():
    unet = adapted_stable_diffusion()
    assert len(lora.ranks(unet)) == 128
    assert parameters(unet) == 51_019_776


def test_half_of_the_rank_pairs_is_half_of_the_parameters_or_about():
    """Of 51.0 million about 25.5 stay: pairs differ in size, and the weights decide which go."""
    shapes = {
        name: (down.shape[1], up.shape[0])
        for name, (down, up) in lora.factors(adapted_stable_diffusion()).items()
    }
    ids = torch.arange(256)
    scores = {
        name: Stream(name).normal(ids, (sum(shape),)).square().mean(dim=1)
        for name, shape in shapes.items()
    }
    kept = pairs_to_keep(scores, 0.5)
    assert sum(map(len, kept.values())) == 128 * 256 // 2
    left = sum(len(kept[name]) * sum(shape) for name, shape in shapes.items())
    assert left == pytest.approx(51_019_776 / 2, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("option", SIZES)
def test_one_step_of_training_and_of_sampling_at_full_size(option):
    model = model_of(option)
    denoiser = model.untrained(0)
    assert parameters(denoiser) == SIZES[option]
    channels, height, width = model.latent_shape()
    shape = (channels, min(height, 32), min(width, 32))  # the weights are those of any
    noise = Stream("noise").normal(torch.arange(1), shape)
    points = model.noise_scheduler().add_noise(0 * noise, noise, torch.tensor([999]))
    F.mse_loss(denoiser(points, torch.tensor([999])).sample, noise).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in denoiser.parameters())
    sampler = DDIMScheduler.from_config(model.noise_scheduler().config)
    sampler.set_timesteps(100)
    with torch.no_grad():
        first = sampler.timesteps[0]
        step = sampler.step(denoiser(points, first).sample, first, points).prev_sample
    assert step.shape == (1, *shape)
    assert step.isfinite().all()
