"""Pipelines of diffusers: a latent, a text-conditional and a pixel diffusion model."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from tokenizers.pre_tokenizers import ByteLevel

from crediting.randomness import derive_seed

IMAGE = 64
"""Side of the images for the latent models; the published ones take 256."""
TOKENS = 77
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = ["a", "photo", "of", "the", "post", "impressionist", "painting", "kite", "house", "tree"]
"""Words that become one token; any other text is spelt by its bytes."""


@contextmanager
def seeded(*identity: object) -> Iterator[None]:
    """Let torch draw what belongs to an identity, and leave its global stream as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed("miniature", *identity))
        yield


def write_ldm(folder: Path) -> None:
    """Write CompVis/ldm-celebahq-256: four times smaller latents of three channels."""
    with seeded("ldm"):
        vqvae = VQModel(
            **_autoencoder((8, 8, 16)), latent_channels=3, num_vq_embeddings=64, sample_size=IMAGE
        )
        # as far apart as the latents, so that not all of them are quantised alike
        torch.nn.init.normal_(vqvae.quantize.embedding.weight)
        unet = _unet(IMAGE // 4)
    scheduler = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False
    )
    LDMPipeline(vqvae=vqvae, unet=unet, scheduler=scheduler).save_pretrained(folder)


def write_ddpm(folder: Path) -> None:
    """Write a pixel diffusion model for images of 32 x 32."""
    with seeded("ddpm"):
        DDPMPipeline(unet=_unet(32), scheduler=DDPMScheduler()).save_pretrained(folder)


def write_sd(folder: Path) -> None:
    """Write miniSD: eight times smaller latents of four channels, conditioned on text."""
    from transformers import CLIPTextModel, CLIPTokenizer

    write_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    with seeded("sd"):
        pipeline = StableDiffusionPipeline(
            vae=AutoencoderKL(
                **_autoencoder((8, 8, 16, 16)),
                latent_channels=4,
                sample_size=IMAGE,
                scaling_factor=0.18215,
            ),
            text_encoder=CLIPTextModel(text_config(tokenizer)),
            tokenizer=tokenizer,
            unet=_conditional_unet(IMAGE // 8),
            scheduler=PNDMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                skip_prk_steps=True,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer")  # transformers 5 saves it otherwise than published


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer of CLIP, with ten words instead of 48,894 merges."""
    folder.mkdir(parents=True)
    letters = sorted(ByteLevel.alphabet())
    merges = list(dict.fromkeys(pair for word in WORDS for pair in _merges(word)))
    names = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    options = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "do_lower_case": True,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    special = {key: value for key, value in options.items() if key.endswith("_token")}
    _write_json(folder / "vocab.json", {name: index for index, name in enumerate(names)})
    _write_json(folder / "tokenizer_config.json", options)
    _write_json(folder / "special_tokens_map.json", special)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def text_config(tokenizer: Any) -> Any:
    """Return the shape of a tiny text encoder of CLIP that fits a tokenizer."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=8,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _merges(word: str) -> list[tuple[str, str]]:
    """Return the pairs that make a word one token, letter by letter."""
    ends = [*word[:-1], f"{word[-1]}</w>"]
    return [("".join(ends[:i]), ends[i]) for i in range(1, len(ends))]


def _autoencoder(channels: tuple[int, ...]) -> dict[str, Any]:
    return {
        "block_out_channels": channels,
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "norm_num_groups": 4,
    }


def _unet(size: int) -> UNet2DModel:
    return UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
    )


def _conditional_unet(size: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=size,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
        cross_attention_dim=32,
        norm_num_groups=4,
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
