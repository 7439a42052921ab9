import pytest
import torch
from small_unets import ddpm, level_widths, no_loss
from torch import nn

from crediting.pruning import RandomChannels

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


def numbered(seed=0, **changes):
    """Return a U-Net whose biases are the numbers of the channels."""
    denoiser = ddpm(**changes).untrained(seed)
    for module in denoiser.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.bias.data = torch.arange(len(module.bias)).to(module.bias)
    return denoiser


def survivors(seed, denoiser):
    """Return which channels stay, by layer; those of the output all do."""
    small, _ = RandomChannels(0.5, seed, None).prune(denoiser, ddpm(), no_loss)
    return {
        name: module.bias.tolist()
        for name, module in small.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and name != "conv_out"
    }


def test_the_seed_decides_and_nothing_else():
    first = survivors(0, numbered(0))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        assert survivors(0, numbered(1)) == first


def test_another_seed_keeps_others():
    first, second = survivors(0, numbered()), survivors(1, numbered())
    same = [name for name in first if first[name] == second[name]]
    assert len(same) < len(first) / 2


@pytest.mark.parametrize("device", DEVICES)
def test_devices_agree(device):
    assert survivors(3, numbered().to(device)) == survivors(3, numbered())


def test_layers_draw_for_themselves():
    inner = [kept for name, kept in survivors(0, numbered()).items() if name.endswith("conv1")]
    assert len({tuple(kept) for kept in inner if len(kept) == 16}) > 1


def test_the_global_stream_stays():
    state = torch.random.get_rng_state()
    small, _ = RandomChannels(0.3, 0, None).prune(ddpm().untrained(0), ddpm(), no_loss)
    assert level_widths(small) == [12, 24]
    assert torch.equal(torch.random.get_rng_state(), state)
