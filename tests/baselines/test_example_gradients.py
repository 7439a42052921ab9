"""Vectorised gradients against a loop over examples and timesteps, one `backward` each."""

from dataclasses import replace

import pytest
import torch
from captum.influence import TracInCP
from diffusers import DDPMScheduler
from gradient_material import SETTINGS, LinearDenoiser, normal, pixels, stable_diffusion
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from crediting import lora
from crediting.baselines.example_gradients import OUTPUTS, ExampleGradients
from crediting.randomness import Stream
from crediting.training.examples import Examples

TIMESTEPS = (0, 250, 900)
MUCH = 2**30


def gradients(material, output="loss", *, memory=MUCH, timesteps=TIMESTEPS, **changes):
    given = {
        "denoiser": material.denoiser(),
        "examples": material.training,
        "noise_scheduler": material.noise_scheduler,
        **changes,
    }
    return ExampleGradients(
        output=output, timesteps=timesteps, stream=Stream("test"), memory=memory, **given
    )


def values(output, prediction, target, signs):
    if output == "loss":
        return ((prediction - target) ** 2).sum() / prediction.numel()
    if output == "square_norm":
        return F.mse_loss(prediction, torch.zeros_like(prediction))
    return (prediction * signs).sum() / prediction.numel() ** 0.5


def looped(material, output):
    """Return the gradients one by one, from the same noisy points."""
    denoiser = material.denoiser()
    trained = [p for p in denoiser.parameters() if p.requires_grad]
    every = torch.arange(len(material.training))
    inputs = gradients(material)._inputs(every, torch.tensor(TIMESTEPS))
    noisy, _, targets, signs, _ = inputs
    rows = []
    for i in every.tolist():
        total = torch.zeros(sum(p.numel() for p in trained))
        for j, timestep in enumerate(TIMESTEPS):
            conditions = material.training.conditions(torch.tensor([i]))
            prediction = denoiser(noisy[i, j][None], timestep, **conditions).sample[0]
            value = values(output, prediction, targets[i, j], signs[i, j])
            found = torch.autograd.grad(value, trained)
            total += torch.cat([part.flatten() for part in found])
        rows.append(total / len(TIMESTEPS))
    return torch.stack(rows)


def assert_equal_rows(found, expected, tolerance=2e-5):
    difference = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert difference.max() < tolerance


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_they_are_those_of_a_loop(setting, output):
    material = SETTINGS[setting]()
    expected = looped(material, output)
    assert (expected.norm(dim=1) > 0).all()
    found = gradients(material, output).of(torch.arange(len(material.training)))
    assert_equal_rows(found, expected)


def test_their_products_are_what_another_library_calls_influence():
    """TracIn of captum at one checkpoint, with a learning rate of 1."""

    class AtOneTimestep(nn.Module):
        def __init__(self):
            super().__init__()
            self.denoiser = material.denoiser()

        def forward(self, noisy):
            return self.denoiser(noisy, 250).sample

    def loss(prediction, target):
        return (prediction - target).square().flatten(1).mean(1)

    loss.reduction = "none"
    material, every = pixels(), torch.arange(7)
    features = gradients(material, timesteps=(250,))
    noisy, _, targets, _, _ = features._inputs(every, torch.tensor([250]))
    tracin = TracInCP(
        AtOneTimestep(),
        TensorDataset(noisy[:, 0], targets[:, 0]),
        checkpoints=["the model as it is"],
        checkpoints_load_func=lambda model, path: 1.0,
        loss_fn=loss,
        batch_size=3,
    )
    found = features.of(every)
    expected = tracin.influence((noisy[:, 0], targets[:, 0]))
    torch.testing.assert_close(found @ found.T, expected, rtol=1e-5, atol=1e-3)
    assert expected.abs().max() > 10


def test_only_what_is_trained_is_differentiated():
    material = stable_diffusion()
    pairs = lora.factors(material.denoiser()).values()
    assert gradients(material).size == sum(down.numel() + up.numel() for down, up in pairs)
    denoiser = material.denoiser()
    gradients(material, denoiser=denoiser).of(torch.arange(2))
    assert all(parameter.grad is None for parameter in denoiser.parameters())


@pytest.mark.parametrize("at_once", [(1, 1), (1, 2), (3, 3)])
def test_memory_does_not_change_them(at_once):
    material = pixels()
    whole = gradients(material)
    examples, timesteps = at_once
    memory = examples * (8 * whole.size + timesteps * 2 * whole._activations())
    some = gradients(material, memory=memory)
    assert some._at_once() == at_once
    every = torch.arange(len(material.training))
    assert_equal_rows(some.of(every), whole.of(every))


def test_too_little_memory_is_enough_for_one_example_at_one_timestep():
    assert gradients(pixels(), memory=1)._at_once() == (1, 1)


def test_place_and_company_do_not_matter():
    material = pixels()
    expected = gradients(material).of(torch.arange(7))
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    moved = Examples(material.training.latents[order])
    found = gradients(material, examples=moved).of(torch.arange(7))
    assert_equal_rows(found, expected[order])
    assert_equal_rows(gradients(material).of(torch.tensor([5])), expected[5:6])


@pytest.mark.parametrize("memory", [1, MUCH])
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_example_can_have_timesteps_of_its_own(setting, memory):
    material = SETTINGS[setting]()
    own = torch.tensor([[0, 250], [250, 900], [0, 250], [3, 4], [900, 1], [7, 7], [0, 999]])
    every = torch.arange(7)
    found = gradients(material, timesteps=own, memory=memory).of(every)
    for number, timesteps in zip(every, own.tolist(), strict=True):
        alone = gradients(material, timesteps=timesteps).of(number[None])
        assert_equal_rows(found[number][None], alone)
    shared = gradients(material, timesteps=own[:1].expand(7, -1)).of(every)
    assert_equal_rows(shared, gradients(material, timesteps=own[0].tolist()).of(every))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_points_are_of_the_forward_process(prediction):
    material = pixels()
    scheduler = DDPMScheduler(prediction_type=prediction)
    each = torch.arange(7)
    inputs = gradients(material, noise_scheduler=scheduler)._inputs(each, torch.tensor(TIMESTEPS))
    noisy, _, targets, signs, conditions = inputs
    alpha = scheduler.alphas_cumprod[list(TIMESTEPS)].view(1, 3, 1, 1, 1)
    clean = material.training.latents[:, None]
    noise = (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    expected = noise if prediction == "epsilon" else velocity
    torch.testing.assert_close(targets, expected, rtol=1e-3, atol=1e-4)
    assert signs.unique().tolist() == [-1, 1]
    assert conditions == {}


def test_noise_is_normal_and_another_for_every_example_and_timestep():
    examples = Examples(normal("many", 500, 1, 4, 4))
    scheduled = gradients(pixels(), examples=examples)
    _, _, noise, signs, _ = scheduled._inputs(torch.arange(500), torch.tensor(TIMESTEPS))
    columns = torch.cat([noise, signs], dim=1).flatten(2).transpose(1, 2).flatten(0, 1)
    n = len(columns)
    assert columns.mean(dim=0).abs().max() < 4 / n**0.5
    assert (columns.T @ columns / n - torch.eye(6)).abs().max() < 4 * (2 / n) ** 0.5
    neighbours = (noise[1:] * noise[:-1]).mean()
    assert abs(float(neighbours)) < 4 / noise.numel() ** 0.5


def test_any_pixel_changes_the_noise_and_an_equal_image_does_not():
    latents = pixels().training.latents[:1].repeat(18, 1, 1, 1)
    latents[2:].flatten(1).diagonal().add_(1 / 127.5)
    inputs = gradients(pixels(), examples=Examples(latents))._inputs(
        torch.arange(18), torch.tensor(TIMESTEPS)
    )
    noise = inputs[2]
    assert torch.equal(noise[0], noise[1])
    assert (noise[2:] - noise[0]).abs().min() > 0


def test_posteriors_stand_for_their_means():
    material = SETTINGS["latents"]()
    certain = replace(material.training, deviations=None)
    every = torch.arange(7)
    found = gradients(material).of(every)
    assert torch.equal(found, gradients(material, examples=certain).of(every))


def test_probes_stand_for_the_jacobian():
    """Of a linear model: the mean of g g^T is J^T J / m."""
    theta = normal("theta", 1, 3)[0]
    denoiser, examples = LinearDenoiser(theta, 4), Examples(normal("many", 6000, 1, 1, 4))
    source = gradients(pixels(), "probe", timesteps=(40,), denoiser=denoiser, examples=examples)
    every = torch.arange(len(examples))
    noisy, timesteps, *_ = source._inputs(every, torch.tensor([40]))
    with torch.no_grad():
        jacobians = denoiser.jacobian(noisy[:, 0], timesteps).double()
    expected = (jacobians.mT @ jacobians / 4).mean(dim=0)
    rows = source.of(every).double()
    found = rows.T @ rows / len(rows)
    assert (found - expected).abs().max() < 0.05 * expected.diagonal().max()
