import copy
import math

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from small_unets import (
    assert_lowest_scores_went,
    attentions,
    ddpm,
    kept,
    level_widths,
    no_loss,
    other_axes,
)
from torch import nn

from crediting.errors import ConfigError
from crediting.pruning import Magnitude
from crediting.pruning.structured import (
    Channels,
    _least_ratio,
    _library_ratios,
    removed_per_block,
)

CIFAR = {
    "sample_size": 32,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [128, 256, 256, 256],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
CELEBA = {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "attention_head_dim": 32,
    "down_block_types": ["DownBlock2D"] + ["AttnDownBlock2D"] * 3,
    "up_block_types": ["AttnUpBlock2D"] * 3 + ["UpBlock2D"],
}


def pruned(model, ratio, seed=0):
    return Magnitude(ratio, None).prune(model.untrained(seed), model, no_loss)[0]


# ---------------------------------------------------------------------- sizes of the paper


def test_cifar_unet_has_the_published_size():
    model = ddpm(CIFAR)
    small, report = Magnitude(0.3, None).prune(model.untrained(0), model, no_loss)
    assert (report.parameters_before, report.parameters_after) == (35_746_307, 19_851_157)
    assert level_widths(small) == [96, 192, 192, 192]
    assert small.time_embedding.linear_1.out_features == 358
    assert report.macs_after < report.macs_before


@pytest.mark.slow
def test_celeba_unet_has_the_published_size():
    model = ddpm(CELEBA, sample_size=16)  # of which parameters and channels do not depend
    small, report = Magnitude(0.5, None).prune(model.untrained(0), model, no_loss)
    assert (report.parameters_before, report.parameters_after) == (274_056_163, 70_926_419)
    assert level_widths(small) == [128, 224, 352, 448]
    assert report.realised_ratio == pytest.approx(0.741, abs=1e-3)


# ---------------------------------------------------------------------- how many channels go


@pytest.mark.parametrize(
    ("ratio", "widths", "time"),
    [(0.15, [16, 28], 54), (0.3, [12, 24], 44), (0.5, [8, 16], 32), (0.9, [4, 4], 6)],
)
def test_removal_is_rounded_down_to_whole_norm_groups(ratio, widths, time):
    # of 16 and 32 channels a multiple of 4 goes, and one per norm group stays
    small = pruned(ddpm(), ratio)
    assert level_widths(small) == widths
    assert small.time_embedding.linear_2.out_features == time


def test_time_embedding_alone_is_not_rounded_to_norm_groups():
    small = pruned(ddpm(norm_num_groups=1), 0.3)
    assert level_widths(small) == [math.floor(16 * 0.7), math.floor(32 * 0.7)]


def test_rounding_is_not_misled_by_floating_point():
    # 20 * (1 - 0.9) is 1.9999999999999996
    assert removed_per_block(Channels([], total=20, norm_groups=1, heads=1), 0.9) == 18


def test_output_channels_stay():
    assert pruned(ddpm(in_channels=3, out_channels=3), 0.5).conv_out.out_channels == 3


def test_attention_heads_stay_whole():
    small = pruned(ddpm(), 0.5)
    assert attentions(small)
    for attention in attentions(small):
        assert attention.heads == 4
        assert attention.to_q.out_features == attention.inner_dim == 4 * 4
        assert attention.to_k.out_features == attention.to_v.out_features == 16
        assert attention.scale == pytest.approx(4**-0.5)


# ---------------------------------------------------------------------- which channels go


def energy(layer, axis):
    """Sum of squares of a weight for each channel along an axis."""
    weight = layer.weight.detach().double().numpy()
    return (weight**2).sum(axis=other_axes(weight, axis))


def test_the_smallest_channels_inside_every_block_go():
    dense = ddpm().untrained(0)
    small, _ = Magnitude(0.5, None).prune(dense, ddpm(), no_loss)
    assert_lowest_scores_went(dense, small, energy)


def test_the_smallest_channels_of_the_time_embedding_go():
    dense = ddpm().untrained(0)
    small, _ = Magnitude(0.3, None).prune(dense, ddpm(), no_loss)
    first, second = dense.time_embedding.linear_1, dense.time_embedding.linear_2
    readers = [m.time_emb_proj for m in dense.modules() if isinstance(m, ResnetBlock2D)]
    inner = kept(energy(first, 0) + energy(second, 1), 1, 20)
    outer = kept(energy(second, 0) + sum(energy(reader, 1) for reader in readers), 1, 20)
    assert torch.equal(small.time_embedding.linear_1.weight, first.weight[inner])
    assert torch.equal(small.time_embedding.linear_2.weight, second.weight[outer][:, inner])


def test_the_smallest_dimensions_of_attention_heads_go():
    dense = ddpm().untrained(0)
    small, _ = Magnitude(0.5, None).prune(dense, ddpm(), no_loss)
    for before, after in zip(attentions(dense), attentions(small), strict=True):
        scores = sum(energy(layer, 0) for layer in (before.to_q, before.to_k, before.to_v))
        stay = kept(scores + energy(before.to_out[0], 1), blocks=4, n_removed=4)
        for name in ("to_q", "to_k", "to_v"):
            assert torch.equal(getattr(after, name).bias, getattr(before, name).bias[stay])


def test_scores_come_from_the_weights_not_the_biases():
    model, dense = ddpm(), ddpm().untrained(0)
    loud = copy.deepcopy(dense)
    for module in loud.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.bias.data += 100
    small, _ = Magnitude(0.5, None).prune(dense, model, no_loss)
    other, _ = Magnitude(0.5, None).prune(loud, model, no_loss)
    assert torch.equal(small.conv_in.weight, other.conv_in.weight)


# ---------------------------------------------------------------------- the result works


@pytest.mark.parametrize("ratio", [0.2, 0.3, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("attention", [True, False])
def test_pruned_denoiser_learns(ratio, attention):
    blocks = (
        {}
        if attention
        else {
            "down_block_types": ["DownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "UpBlock2D"],
            "add_attention": False,
        }
    )
    model = ddpm(**blocks)
    dense = model.untrained(0)
    small, report = Magnitude(ratio, None).prune(dense, model, no_loss)
    output = small(torch.randn(2, 1, 8, 8), torch.tensor([1, 999])).sample
    assert output.shape == (2, 1, 8, 8)
    output.square().mean().backward()
    assert all(p.grad is not None for p in small.parameters())
    assert report.parameters_after == sum(p.numel() for p in small.parameters())
    assert report.parameters_after < report.parameters_before
    assert report.macs_after < report.macs_before


def test_pruned_denoiser_can_be_pruned_again():
    model = ddpm()
    once = pruned(model, 0.3)
    twice, report = Magnitude(0.5, None).prune(once, model, no_loss)
    assert level_widths(twice) == [8, 12]
    assert report.parameters_before == sum(p.numel() for p in once.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_input_is_left_untouched(training):
    model = ddpm(dropout=0.1)
    dense = model.untrained(0).requires_grad_(False).train(training)
    weights = copy.deepcopy(dense.state_dict())
    stream = torch.random.get_rng_state()
    with torch.no_grad():
        small, _ = Magnitude(0.5, None).prune(dense, model, no_loss)
    assert all(torch.equal(weights[name], t) for name, t in dense.state_dict().items())
    assert not any(p.requires_grad for p in dense.parameters())
    assert dense.training == small.training == training
    assert torch.equal(torch.random.get_rng_state(), stream)


def test_pruning_repeats_itself():
    model = ddpm()
    first, second = pruned(model, 0.5).state_dict(), pruned(model, 0.5).state_dict()
    pruned(ddpm(CIFAR, sample_size=16, block_out_channels=[64] * 4), 0.5, seed=1)
    third = pruned(model, 0.5).state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        assert torch.equal(tensor, third[name])


# ---------------------------------------------------------------------- ratios that cannot work


def test_ratio_without_effect_is_refused_and_the_least_is_named():
    model = ddpm(norm_num_groups=8)
    with pytest.raises(ConfigError) as refusal:
        pruned(model, 0.2187)
    message = str(refusal.value)
    assert message.startswith("pruning.ratio: 0.2187 removes no channel")
    assert "32 channels in 8 norm groups takes a ratio of 0.2188 or more" in message
    assert "lower model.unet.norm_num_groups" in message
    assert level_widths(pruned(model, 0.2188)) == [16, 24]


def test_norm_groups_of_one_channel_cannot_be_pruned():
    model = ddpm(block_out_channels=[16, 16], norm_num_groups=16)
    with pytest.raises(ConfigError, match=r"16 norm groups of one channel each no ratio would\."):
        pruned(model, 0.9)


def test_a_remainder_of_the_attention_heads_is_spared():
    # of 32 channels 7 may go, so one from each of the 4 heads
    small = pruned(ddpm(), 0.2)
    assert attentions(small)
    for attention in attentions(small):
        assert (attention.heads, attention.to_q.out_features) == (4, 28)
        assert attention.to_k.out_features == attention.to_v.out_features == 28


@pytest.mark.parametrize("blocks", [1, 8, 32])
def test_the_library_is_told_ratios_at_which_it_keeps_what_is_meant(blocks):
    """It keeps floor(size (1 - ratio)) of each block, in floating point."""
    for size in range(2, 120):
        layer = nn.Linear(1, 1)
        group = Channels([layer], total=blocks * size, norm_groups=blocks, heads=1)
        for percent in range(1, 100):
            told = _library_ratios([group], percent / 100)[layer]
            kept_by_it = int(size * (1 - told))
            assert kept_by_it == size - removed_per_block(group, percent / 100)


@pytest.mark.parametrize("blocks", [2, 3, 7, 25, 32, 80])
def test_the_least_ratio_that_is_named_takes_a_channel_of_each_block_and_no_less_would(blocks):
    for size in range(2, 40):
        group = Channels([], total=blocks * size, norm_groups=blocks, heads=1)
        least = _least_ratio(group)
        assert removed_per_block(group, least) >= 1
        assert removed_per_block(group, round(least - 1e-4, 4)) == 0
