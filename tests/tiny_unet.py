"""A real U-Net of diffusers, as small as it can be."""

import torch
from diffusers import UNet2DModel


def unet(attention=False, size=4, dropout=0.0, seed=0):
    down, up = ("AttnDownBlock2D", "AttnUpBlock2D") if attention else ("DownBlock2D", "UpBlock2D")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return UNet2DModel(
            sample_size=size,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 8),
            layers_per_block=1,
            down_block_types=("DownBlock2D", down),
            up_block_types=(up, "UpBlock2D"),
            add_attention=attention,
            attention_head_dim=4,
            norm_num_groups=4,
            dropout=dropout,
        )
