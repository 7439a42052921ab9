"""The ways of Journey-TRAK against the pipelines of diffusers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler
from diffusers.pipelines.ddim import pipeline_ddim
from gradient_material import PROMPTS, SETTINGS, fresh, latents, pixels, stable_diffusion

from crediting.baselines import JourneyTrak
from crediting.baselines.example_gradients import ExampleGradients
from crediting.baselines.ridge import RidgeInverse
from crediting.errors import ConfigError
from crediting.generation import Ddim
from crediting.randomness import Stream

STEPS = 6


def journey(**changed):
    kernel = {"timesteps": 2, "dimensions": 16, "memory_mb": 16, "generated": 3, "output": "loss"}
    settings = {"aggregate": "sum", "damping": 0.1, "relative": True, "steps": STEPS, "every": 2}
    return JourneyTrak(**{**kernel, **settings, "guidance": None, **changed})


def ways(material, count=3, **changed):
    """Return the points, (places, count, *shape), and what each shows."""
    found, _ = journey(**changed)._points(material, count)
    shape = found.latents.shape[1:]
    shown = None if found.caption_of is None else found.caption_of.view(-1, count)
    return found.latents.view(-1, count, *shape), shown


def noise(material, count=3):
    shape = material.model.latent_shape()
    return Stream("journey", material.seed).normal(torch.arange(count), shape)


def by_diffusers(material, monkeypatch):
    """Return what DDIMPipeline draws from the same noise, and its latents after each step."""
    monkeypatch.setattr(pipeline_ddim, "randn_tensor", lambda *_, **__: noise(material))
    passed, step = [], DDIMScheduler.step

    def recorded(*args, **kwargs):
        result = step(*args, **kwargs)
        passed.append(result.prev_sample)
        return result

    monkeypatch.setattr(DDIMScheduler, "step", recorded)
    pipeline = DDIMPipeline(material.denoiser(), material.noise_scheduler)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(batch_size=3, num_inference_steps=STEPS, output_type="np").images
    return torch.from_numpy(drawn).permute(0, 3, 1, 2), torch.stack(passed)


@pytest.mark.parametrize("make", [pixels, latents])
@pytest.mark.parametrize("every", [1, 2, 4, 6])
def test_points_are_those_of_the_pipeline(make, every, monkeypatch):
    material = make()
    _, passed = by_diffusers(material, monkeypatch)
    found, shown = ways(material, every=every)
    assert shown is None
    assert len(found) == STEPS // every
    torch.testing.assert_close(found, passed[every - 1 :: every], rtol=1e-4, atol=1e-5)


def test_the_way_ends_in_the_image_of_the_pipeline(monkeypatch):
    material = pixels()
    drawn, _ = by_diffusers(material, monkeypatch)
    ends = ways(material, every=3)[0][-1]
    torch.testing.assert_close((ends / 2 + 0.5).clamp(0, 1), drawn, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guidance", [None, 4.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_the_way_with_prompts_ends_in_what_is_generated(guidance, spacing):
    """Whatever spacing the published scheduler has."""
    material = stable_diffusion()
    noise = material.noise_scheduler.config
    material.noise_scheduler = DDIMScheduler.from_config(noise, timestep_spacing=spacing)
    found, shown = ways(material, every=2, guidance=guidance)
    assert shown.tolist() == [[1 + i % PROMPTS for i in range(3)]] * 3
    ddim = Ddim(3, STEPS, 3, ["a", "b"], guidance)
    stream, ids = Stream("journey", material.seed), torch.arange(3)
    with torch.no_grad():
        expected = ddim._denoise(
            material.denoiser(), material.model, stream, ids, material.prompts()
        )
    torch.testing.assert_close(found[-1], expected, rtol=1e-4, atol=1e-5)


def test_guidance_and_prompts_matter():
    plain, guided = (ways(stable_diffusion(), guidance=g)[0] for g in (None, 4.0))
    assert (plain - guided).norm() > 1e-3 * plain.norm()


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("setting", SETTINGS)
def test_batches_change_neither_points_nor_prompts(setting, size):
    whole, apart = (
        journey()._points(fresh(SETTINGS[setting](), batch_size=most), 3)[0] for most in (64, size)
    )
    # of places: the ways of as many images as are a batch, then those of the next
    order = {1: [0, 3, 6, 1, 4, 7, 2, 5, 8], 2: [0, 1, 3, 4, 6, 7, 2, 5, 8]}[size]
    torch.testing.assert_close(apart.latents, whole.latents[order], rtol=1e-4, atol=1e-5)
    if whole.caption_of is not None:
        assert torch.equal(apart.caption_of, whole.caption_of[order])


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("make", [pixels, stable_diffusion])
def test_a_point_is_looked_at_at_the_timestep_that_led_to_it_with_one_noise(make, size):
    material = fresh(make(), batch_size=size)
    points, timesteps = journey()._points(material, 3)
    scheduler = DDIMScheduler.from_config(material.noise_scheduler.config)
    scheduler.set_timesteps(STEPS)
    places = scheduler.timesteps[1::2]
    expected = places.repeat(3) if size == 1 else places.repeat_interleave(3)
    assert torch.equal(timesteps[:, 0], expected)
    found = journey(dimensions=None).target(material)
    stream = Stream("gradients", material.seed)
    for i, row in enumerate(found):
        alone = replace(
            points,
            latents=points.latents[i : i + 1],
            caption_of=None if points.caption_of is None else points.caption_of[i : i + 1],
        )
        given = (material.denoiser(), alone, material.noise_scheduler, "loss")
        gradient = ExampleGradients(*given, timesteps[i].tolist(), stream, 2**24)
        expected = gradient.of(torch.tensor([0]))[0].double()
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-6)


def test_scores_are_traks_of_the_mean_point():
    material = pixels()
    found = journey()
    training = found.of_training(material, "loss")
    centre = found.target(material).mean(dim=0, keepdim=True)
    influence = (training @ RidgeInverse(training, 0.1, relative=True)(centre).T)[:, 0].numpy()
    owners = material.contributors
    expected = [influence[owners == i].sum() for i in range(material.n_contributors)]
    np.testing.assert_allclose(found.scores(material), expected, rtol=1e-9)


def test_as_many_images_are_drawn_as_are_generated_unless_told():
    material = pixels()
    assert len(journey(generated=None).target(material)) == 3 * len(material.generated)
    assert len(journey(generated=2, every=3).target(material)) == 2 * 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps: expected a positive number, got 0"),
        ({"every": 0}, "every: expected a positive number, got 0"),
        ({"every": 7}, "every: expected at most steps=6, got 7"),
        ({"damping": -1.0}, "damping: expected a positive number"),
    ],
)
def test_arguments_out_of_range_are_refused(changed, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        journey(**changed)


def test_more_steps_than_the_model_has_are_refused():
    with pytest.raises(ConfigError, match=r"^steps: expected at most the model's 1000 timesteps"):
        journey(steps=1001).scores(pixels())


def test_guidance_without_prompts_is_refused():
    with pytest.raises(ConfigError, match=r"^guidance: 2\.0 strengthens the effect of prompts"):
        journey(guidance=2.0).scores(pixels())


def test_steps_that_lead_beyond_the_last_timestep_are_refused():
    material = pixels()
    noise = material.noise_scheduler.config
    timesteps = noise.num_train_timesteps
    material.noise_scheduler = DDIMScheduler.from_config(noise, steps_offset=1)
    with pytest.raises(ConfigError, match=rf"^steps: {timesteps} steps lead beyond"):
        ways(material, count=1, steps=timesteps)
    assert len(ways(material, count=1, steps=timesteps - 1, every=timesteps - 1)[0]) == 1


@pytest.mark.parametrize(
    "changed", [{"steps": 5}, {"every": 3}, {"guidance": 2.0}, {"generated": 2}, {"dimensions": 8}]
)
def test_what_is_remembered_of_another_way_is_not_taken_for_this_one(changed):
    material = stable_diffusion()
    other = journey().target(material)
    found = journey(**changed).target(material)
    torch.testing.assert_close(found, journey(**changed).target(fresh(material)), rtol=0, atol=0)
    assert not torch.equal(found, other)


def test_what_is_remembered_of_another_seed_is_not_taken_for_this_one():
    material = pixels()
    other = journey().target(material)
    again = fresh(material, seed=1, stored=material.stored)
    found = journey().target(again)
    torch.testing.assert_close(found, journey().target(fresh(material, seed=1)), rtol=0, atol=0)
    assert not torch.equal(found, other)
