"""What tests of several pruning methods share: small U-Nets, losses, which channels stay."""

import copy

import numpy as np
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D

from crediting.models import DDPM

TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}


def ddpm(unet=TINY, **changes):
    return DDPM({**unet, **changes}, {}, None, None)


def level_widths(denoiser):
    return [block.resnets[-1].conv2.out_channels for block in denoiser.down_blocks]


def attentions(denoiser):
    return [module for module in denoiser.modules() if isinstance(module, Attention)]


def no_loss(denoiser, timestep, examples):
    raise AssertionError("this method has no business with the loss")


class NoisyLoss:
    """A real loss on fixed images; remembers what it was asked for, and the gradients."""

    def __init__(self, n_timesteps=6):
        self.n_timesteps = n_timesteps
        self.calls = []
        self.gradients = []

    def __call__(self, denoiser, timestep, examples):
        if not self.calls:
            denoiser.conv_in.weight.register_hook(self.gradients.append)
        self.calls.append((timestep, examples))
        assert not denoiser.training
        return self.value(denoiser, timestep, examples)

    def value(self, denoiser, timestep, examples):
        stream = torch.Generator().manual_seed(timestep)
        clean, noise = torch.randn(2, examples, 1, 8, 8, generator=stream)
        share = timestep / self.n_timesteps
        noisy = (1 - share) * clean + share * noise
        noisy, noise = (t.to(denoiser.conv_in.weight) for t in (noisy, noise))
        timesteps = torch.full((examples,), 100 * timestep)
        return (denoiser(noisy, timesteps).sample - noise).square().mean()


class ScriptedLoss(NoisyLoss):
    """A loss of given values, whose derivative by every weight is the value, too."""

    def __init__(self, values):
        super().__init__(len(values))
        self.values = values

    def value(self, denoiser, timestep, examples):
        total = sum(parameter.sum() for parameter in denoiser.parameters())
        return self.values[timestep] * (1 + total - total.detach())


def with_gradients(dense, loss, timesteps, examples):
    """Return a copy that holds the gradients of the loss summed over timesteps."""
    copied = copy.deepcopy(dense).eval()
    sum(loss.value(copied, timestep, examples) for timestep in timesteps).backward()
    return copied


def kept(scores, blocks, n_removed):
    """Rank the mean over the blocks; a channel goes together with its namesakes."""
    order = np.argsort(scores.reshape(blocks, -1).mean(axis=0))
    size = len(scores) // blocks
    stay = np.sort(order[n_removed:])
    return np.concatenate([stay + block * size for block in range(blocks)])


def assert_lowest_scores_went(dense, small, score):
    """Check the inner channels of all residual blocks, half of which are removed.

    `score(layer, axis)` is that of one layer, by channel along an axis of its weight.
    """
    blocks = [(n, m) for n, m in dense.named_modules() if isinstance(m, ResnetBlock2D)]
    assert blocks
    for name, block in blocks:
        scores = score(block.conv1, 0) + score(block.time_emb_proj, 0) + score(block.conv2, 1)
        stay = kept(scores, blocks=4, n_removed=len(scores) // 8)
        assert torch.equal(small.get_submodule(name).conv1.bias, block.conv1.bias[stay])
        assert torch.equal(small.get_submodule(name).norm2.weight, block.norm2.weight[stay])


def other_axes(weight, axis):
    return tuple(a for a in range(weight.ndim) if a != axis)
