from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from crediting.errors import ConfigError
from crediting.randomness import Stream
from crediting.training.examples import Examples
from crediting.training.loss import DenoisingLoss, FixedTimestepLoss

POINTS = Stream("points").normal(torch.arange(9), (1, 4, 4))
IDS = torch.tensor([1, 5, 8])
TIMES = torch.tensor([0, 400, 999])


class Zero(nn.Module):
    """Predicts no noise at all and remembers its inputs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, sample, timestep, **conditions):
        self.seen.append((sample, timestep, conditions))
        return SimpleNamespace(sample=torch.zeros_like(sample))


def loss(prediction_type="epsilon", **fields):
    scheduler = DDPMScheduler(prediction_type=prediction_type)
    return DenoisingLoss(Examples(POINTS, **fields), scheduler)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_who_predicts_nothing_is_off_by_the_target(prediction_type):
    scheduler = DDPMScheduler()
    noise = Stream("s").at("noise").normal(IDS, (1, 4, 4))
    target = noise
    if prediction_type == "v_prediction":
        target = scheduler.get_velocity(POINTS[IDS], noise, TIMES)
    denoiser = Zero()
    found = loss(prediction_type)(denoiser, IDS, TIMES, None, Stream("s"))
    assert found.item() == pytest.approx(target.square().mean().item(), rel=1e-5)
    noisy, timesteps, _ = denoiser.seen[0]
    torch.testing.assert_close(noisy, scheduler.add_noise(POINTS[IDS], noise, TIMES))
    assert torch.equal(timesteps, TIMES)


def test_captions_reach_the_denoiser():
    captions = torch.arange(9.0).view(9, 1, 1).expand(9, 2, 3)
    denoiser = Zero()
    loss(captions=captions, caption_of=torch.arange(9))(denoiser, IDS, TIMES, None, Stream("s"))
    assert torch.equal(denoiser.seen[0][2]["encoder_hidden_states"], captions[IDS])


def test_the_draw_from_a_posterior_has_nothing_to_do_with_the_noise():
    means = torch.zeros(500, 1, 4, 4)
    posteriors = DenoisingLoss(Examples(means, deviations=means + 1), DDPMScheduler())
    ids = torch.arange(500)
    posed = posteriors.pose(ids, torch.full_like(ids, 300), None, Stream("s"))
    share = DDPMScheduler().alphas_cumprod[300]
    drawn = (posed.noisy - (1 - share).sqrt() * posed.target) / share.sqrt()
    assert drawn.std().item() == pytest.approx(1, abs=0.05)
    assert (drawn * posed.target).mean().abs() < 0.05


def test_another_prediction_type_is_refused():
    with pytest.raises(ConfigError, match=r"model\.noise\.prediction_type.*got 'sample'"):
        loss("sample")


def test_the_loss_at_a_timestep_is_always_the_same():
    fixed = FixedTimestepLoss(loss(), Stream("prune"), 128)
    assert fixed.n_timesteps == 1000
    denoiser = Zero()
    values = [fixed(denoiser, step, 4).item() for step in (7, 7, 8)]
    assert values[0] == values[1] != values[2]
    sample, timesteps, _ = denoiser.seen[0]
    assert timesteps.tolist() == [7] * 4
    assert torch.equal(sample, denoiser.seen[1][0])


def test_the_examples_of_a_timestep_are_any_and_their_noise_is_its_own():
    chosen = set()
    for seed in range(20):
        denoiser = Zero()
        fixed = FixedTimestepLoss(loss(), Stream("prune", seed), 128)
        for timestep in (0, 998, 999):
            fixed(denoiser, timestep, 4)
        seen, *late = (sample for sample, _, _ in denoiser.seen)
        distances = torch.cdist(seen.flatten(1), POINTS.flatten(1))
        chosen |= set(distances.argmin(1).tolist())
        assert len(distances.argmin(1).unique()) == 4
        assert (late[0] - late[1]).abs().max() > 1
    assert chosen == set(range(9))


def test_all_examples_are_used_if_more_are_asked_for():
    denoiser = Zero()
    FixedTimestepLoss(loss(), Stream("prune"), 128)(denoiser, 3, 100)
    assert len(denoiser.seen[0][0]) == 9


def test_the_loss_at_a_timestep_in_parts_is_that_of_the_whole():
    """Also of unequal parts; and of the gradients' memory no more than one part is held at once."""

    class Once(nn.Conv2d):
        def forward(self, sample, timestep, **conditions):
            sizes.append(len(sample))
            return SimpleNamespace(sample=super().forward(sample))

    sizes, found = [], []
    torch.manual_seed(0)
    denoiser = Once(1, 1, 3, padding=1).double()
    for at_once in (9, 4):
        fixed = FixedTimestepLoss(double_loss(), Stream("prune"), at_once)
        value = fixed(denoiser, 500, 9)
        (gradient,) = torch.autograd.grad(value, [denoiser.weight])
        found.append((value.detach(), gradient))
    torch.testing.assert_close(found[0], found[1])
    assert sizes == [9, 4, 4, 1, 1, 4, 4]  # each part once more where its gradient is taken


def double_loss():
    return DenoisingLoss(Examples(POINTS.double()), DDPMScheduler())
