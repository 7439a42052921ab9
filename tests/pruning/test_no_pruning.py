import copy

import torch
from small_unets import no_loss
from torch import nn

from crediting.models import DDPM
from crediting.pruning import NoPruning

UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "add_attention": False,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
}


def multiply_adds(denoiser, model):
    """Count by hand: every weight is used once per output pixel."""
    counts = []

    def count(layer, _, output):
        pixels = output[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        counts.append(layer.weight.numel() * pixels)

    layers = [m for m in denoiser.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    denoiser(**model.example_inputs(denoiser))
    for handle in handles:
        handle.remove()
    return sum(counts)


def test_no_pruning_returns_the_denoiser_itself():
    model = DDPM(UNET, {}, None, None)
    denoiser = model.untrained(0)
    NoPruning().check(denoiser, model)
    same, report = NoPruning().prune(denoiser, model, no_loss)
    assert same is denoiser
    assert NoPruning().recovery is None
    assert report.realised_ratio == 0
    assert report.parameters_before == sum(p.numel() for p in denoiser.parameters())
    assert report.macs_before == report.macs_after == multiply_adds(denoiser, model)


def test_measuring_leaves_weights_mode_and_stream_alone():
    model = DDPM({**UNET, "dropout": 0.5}, {}, None, None)
    denoiser = model.untrained(0).train()
    before, weights = torch.random.get_rng_state(), denoiser.conv_in.weight.clone()
    NoPruning().prune(denoiser, model, no_loss)
    assert denoiser.training
    assert torch.equal(denoiser.conv_in.weight, weights)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_frozen_parameters_do_not_count():
    model = DDPM(UNET, {}, None, None)
    denoiser = model.untrained(0).requires_grad_(False)
    denoiser.conv_in.requires_grad_(True)
    _, report = NoPruning().prune(denoiser, model, no_loss)
    assert report.parameters_before == 16 * 9 + 16
    assert report.macs_before == multiply_adds(denoiser, model)


def test_measuring_copies_no_weight(monkeypatch):
    model = DDPM(UNET, {}, None, None)
    denoiser = model.untrained(0)
    copies = []
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", lambda parameter, _: copies.append(parameter))
    NoPruning().prune(denoiser, model, no_loss)
    assert not copies
    copy.deepcopy(denoiser.conv_in)
    assert len(copies) == 2
