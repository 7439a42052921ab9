import pickle

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from crediting.errors import ConfigError
from crediting.models import DDPM
from crediting.pruning import Magnitude

UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
    "clip_sample": True,
}


def ddpm(noise=None, **unet):
    return DDPM({**UNET, **unet}, {**NOISE, **(noise or {})}, None, None)


def weights_equal(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_constructor_keeps_the_recipe():
    assert DDPM({}, {}, None, training="recipe").training == "recipe"


def test_it_can_be_sent_to_workers():
    model = pickle.loads(pickle.dumps(ddpm()))
    assert weights_equal(model.untrained(3), ddpm().untrained(3))


def test_it_needs_nothing_from_outside():
    assert ddpm().assets() == {}


@pytest.mark.parametrize(
    ("unet", "said"),
    [
        ({"in_channels": 3}, r"out_channels: expected 3, as many as in_channels.*got 1"),
        ({"sample_size": 9}, r"sample_size: expected a multiple of 2.*got 9"),
        ({"sample_size": [8, 7]}, r"sample_size: expected a multiple of 2"),
        ({"sample_size": 8.5}, r"sample_size: expected a whole number.*got 8\.5"),
        ({"sample_size": [8]}, r"sample_size: expected a whole number.*got \[8\]"),
        ({"sample_size": "ab"}, r"sample_size: expected a whole number.*got 'ab'"),
    ],
)
def test_shapes_that_cannot_be_denoised_are_refused(unet, said):
    with pytest.raises(ConfigError, match=rf"^model\.unet\.{said}"):
        ddpm(**unet).latent_shape()


def test_it_reads_no_prompts():
    assert not DDPM.conditional
    with pytest.raises(ConfigError, match=r"^generation\.prompts: expected null.*model=sd_lora"):
        ddpm().embed(["a cat"], torch.device("cpu"))


def test_untrained_is_a_function_of_the_seed():
    model = ddpm()
    assert weights_equal(model.untrained(3), model.untrained(3))
    assert not weights_equal(model.untrained(3), model.untrained(4))


def test_initialising_leaves_the_global_stream_alone():
    model = ddpm()
    before = torch.random.get_rng_state()
    model.reinitialise(model.untrained(1), 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_reinitialise_copies_the_shape_but_not_the_weights():
    model = ddpm()
    dense = model.untrained(0)
    original = [p.clone() for p in dense.parameters()]
    fresh = model.reinitialise(dense, 1)
    assert all(torch.equal(a, b) for a, b in zip(original, dense.parameters(), strict=True))
    assert not weights_equal(fresh, dense)
    assert weights_equal(fresh, model.reinitialise(dense, 1))
    assert not weights_equal(fresh, model.reinitialise(dense, 2))


def test_reinitialise_forgets_training_and_gradients():
    model = ddpm()
    trained = model.untrained(0)
    for parameter in trained.parameters():
        parameter.data.fill_(7.0)
        parameter.grad = torch.ones_like(parameter)
    fresh = model.reinitialise(trained, 1)
    assert weights_equal(fresh, model.reinitialise(model.untrained(5), 1))
    assert all(p.grad is None for p in fresh.parameters())


def test_reinitialise_draws_from_the_distribution_of_untrained():
    model = ddpm(block_out_channels=[32, 64])
    dense = model.untrained(0)
    fresh = model.reinitialise(dense, 1)
    for (name, one), other in zip(dense.named_parameters(), fresh.parameters(), strict=True):
        if one.numel() >= 1000:
            assert other.std().item() == pytest.approx(one.std().item(), rel=0.1), name
            assert other.abs().max().item() == pytest.approx(one.abs().max().item(), rel=0.05), name
        elif "norm" in name:
            assert torch.equal(one, other), name


def test_reinitialise_keeps_the_shape_of_a_pruned_denoiser():
    model = ddpm()
    pruned, _ = Magnitude(0.3, None).prune(model.untrained(0), model, None)
    fresh = model.reinitialise(pruned, 1)
    assert [p.shape for p in fresh.parameters()] == [p.shape for p in pruned.parameters()]
    assert not torch.equal(fresh.conv_in.weight, pruned.conv_in.weight)
    assert fresh(**model.example_inputs(fresh)).sample.shape == (1, 1, 8, 8)


def test_reinitialise_refuses_parameters_it_cannot_initialise():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

    with pytest.raises(AssertionError, match=r"Scale cannot reinitialise.*factor"):
        ddpm().reinitialise(nn.Sequential(nn.Linear(2, 2), Scale()), 0)


def test_example_inputs_are_one_call():
    model = ddpm()
    denoiser = model.untrained(0)
    output = denoiser(**model.example_inputs(denoiser)).sample
    assert output.shape == (1, *model.latent_shape())
    assert model.example_inputs(denoiser.to("meta"))["sample"].device.type == "meta"


def test_prunable_describes_the_denoiser_that_it_is_given():
    model = ddpm()
    denoiser = model.untrained(0)
    prunable = model.prunable(denoiser)
    assert prunable.ignored_layers == [denoiser.conv_out]
    attention = denoiser.down_blocks[1].attentions[0]
    for projection in (attention.to_q, attention.to_k, attention.to_v):
        assert prunable.num_heads[projection] == 32 // 8


def test_encoding_round_trips_every_pixel_value():
    model = ddpm()
    images = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    examples = model.encode(images, {"label": np.zeros(4)})
    latents = examples.latents
    assert latents.dtype == torch.float32
    assert examples.in_pixels
    assert (examples.deviations, examples.mirrored, examples.captions) == (None, None, None)
    assert latents.shape == images.shape
    assert (latents.min(), latents.max()) == (-1, 1)
    assert torch.equal(model.decode(latents), images)


def test_decode_clamps_and_rounds():
    latents = torch.tensor([-9.0, 9.0, 0.6 / 127.5 - 1, 0.4 / 127.5 - 1])
    assert ddpm().decode(latents).tolist() == [0, 255, 1, 0]


@pytest.mark.parametrize(
    ("size", "shape"), [(8, (1, 8, 8)), ([8, 16], (1, 8, 16)), ((8, 16), (1, 8, 16))]
)
def test_latent_shape_comes_from_the_unet(size, shape):
    assert ddpm(sample_size=size).latent_shape() == shape


def test_noise_scheduler_is_the_configured_one():
    scheduler = ddpm(noise={"num_train_timesteps": 10}).noise_scheduler()
    assert isinstance(scheduler, DDPMScheduler)
    assert scheduler.config.num_train_timesteps == 10


@pytest.mark.parametrize(
    ("unet", "problem"),
    [
        ({"depth": 3}, "depth"),
        ({"block_out_channels": [3, 5]}, "divisible"),
        ({"down_block_types": ["DownBlock2D"]}, "down_block_types"),
        ({"down_block_types": ["DownBlock2D", "Down"]}, "Down does not exist"),
        ({"block_out_channels": 16}, "subscriptable"),
        ({"block_out_channels": []}, "out of range"),
        ({"norm_num_groups": 0}, "zero"),
        ({"time_embedding_type": "none"}, "timestep_input_dim"),
    ],
)
def test_impossible_architecture_names_the_key(unet, problem):
    assert len(ddpm(**unet).latent_shape()) == 3  # is asked first, and leaves it to diffusers
    with pytest.raises(ConfigError, match=rf"^model\.unet: .*UNet2DModel.*{problem}.*correct"):
        ddpm(**unet).untrained(0)


def test_too_little_memory_is_not_taken_for_an_impossible_architecture(monkeypatch):
    def fails(*given, **settings):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("torch.nn.Conv2d.__init__", fails)
    with pytest.raises(RuntimeError, match="allocate"):
        ddpm().untrained(0)


@pytest.mark.parametrize(
    ("noise", "problem"), [({"beta": 1}, "beta"), ({"beta_schedule": "none"}, "not implemented")]
)
def test_impossible_noise_names_the_key(noise, problem):
    with pytest.raises(ConfigError, match=rf"^model\.noise: .*DDPMScheduler.*{problem}.*correct"):
        ddpm(noise=noise).noise_scheduler()


@pytest.mark.parametrize(
    "noise", [{"beta_end": 2}, {"beta_start": -1}, {"num_train_timesteps": 0}, {"beta_end": "nan"}]
)
def test_noise_that_is_no_share_of_the_image_names_the_key(noise):
    changes = {key: float(value) if value == "nan" else value for key, value in noise.items()}
    with pytest.raises(ConfigError, match=r"^model\.noise: expected at least one timestep, and be"):
        ddpm(noise=changes).noise_scheduler()


def test_noise_may_leave_nothing_of_the_image():
    scheduler = ddpm(noise={"rescale_betas_zero_snr": True}).noise_scheduler()
    assert scheduler.alphas_cumprod[-1] == 0


def test_unet_without_image_size_is_refused():
    model = DDPM({"in_channels": 1}, NOISE, None, None)
    with pytest.raises(ConfigError, match=r"^model\.unet: .*found no sample_size; set"):
        model.latent_shape()


@pytest.mark.parametrize("ratio", [None, 0.3])
def test_saving_and_loading_is_bit_identical(tmp_path, ratio):
    model = ddpm()
    denoiser = model.untrained(0)
    if ratio:
        denoiser, _ = Magnitude(ratio, None).prune(denoiser, model, None)
    model.save(tmp_path, denoiser, "averaged")
    loaded = model.load(tmp_path, "averaged")
    assert weights_equal(loaded, denoiser)
    inputs = model.example_inputs(denoiser)
    assert torch.equal(loaded(**inputs).sample, denoiser(**inputs).sample)


@pytest.mark.parametrize(("unet", "noise", "key"), [(None, {}, "unet"), ({}, None, "noise")])
def test_nothing_given_at_all_is_refused(unet, noise, key):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: expected its settings, got null.*give"):
        DDPM(unet, noise, None, None)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 16, 16), (1, 8, 6)])
def test_images_of_another_shape_than_the_unet_reads_are_refused(shape):
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"^model\.unet: expected images of 1 channels, 8 x 8 "):
        ddpm().encode(images, {})
