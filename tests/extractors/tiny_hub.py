"""Tiny random models in the format of the Hugging Face hub, and images to show them."""

import json
from pathlib import Path

import torch
from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
)

WORDS = ("a", "cat", "painting", "of", "dog")
WIDTHS = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
CLIP_SIDE, BLIP_SIDE = 28, 32


def pictures(number: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Return smooth random images, uint8, without black and white.

    Of noise, resizing would leave nothing to compare; from 0 and 255, enlarging overshoots.
    """
    stream = torch.Generator().manual_seed(number + height)
    coarse = torch.rand(number, channels, 5, 5, generator=stream)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (50 + 150 * smooth).to(torch.uint8)


def save_clip(folder: Path, projection: int = 8, binary: bool = False) -> CLIPModel:
    """Write a CLIP of 28 pixels with its processor and tokenizer, and return it."""
    tokens = save_tokenizer(folder)
    config = CLIPConfig(
        text_config={
            **WIDTHS,
            "vocab_size": len(tokens),
            "max_position_embeddings": 12,
            "bos_token_id": tokens["<|startoftext|>"],
            "eos_token_id": tokens["<|endoftext|>"],
            "pad_token_id": tokens["<|endoftext|>"],
        },
        vision_config={**WIDTHS, "image_size": CLIP_SIDE, "patch_size": 14},
        projection_dim=projection,
    )
    model = randomised(CLIPModel(config))
    save(model, folder, binary)
    CLIPImageProcessor(
        size={"shortest_edge": CLIP_SIDE}, crop_size={"height": CLIP_SIDE, "width": CLIP_SIDE}
    ).save_pretrained(folder)
    return model


def save_tokenizer(folder: Path) -> dict[str, int]:
    """Write a byte-pair vocabulary that knows a few words, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merges, merged = [], []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts[:2] = ["".join(parts[:2])]
            merged.append(parts[0])
    symbols = [*letters, *(f"{c}</w>" for c in letters), *merged]
    symbols = list(dict.fromkeys([*symbols, "<|startoftext|>", "<|endoftext|>"]))
    tokens = {symbol: i for i, symbol in enumerate(symbols)}
    (folder / "vocab.json").write_text(json.dumps(tokens))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges), ""]))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": 12, "tokenizer_class": "CLIPTokenizer"})
    )
    return tokens


def save_blip(folder: Path, binary: bool = False) -> BlipForQuestionAnswering:
    """Write a BLIP of 32 pixels that answers questions, and return it."""
    config = BlipConfig(
        text_config={
            **WIDTHS,
            "vocab_size": 20,
            "encoder_hidden_size": 16,
            "bos_token_id": 1,
            "sep_token_id": 2,
            "eos_token_id": 2,
        },
        vision_config={**WIDTHS, "image_size": BLIP_SIDE, "patch_size": 16},
        projection_dim=8,
    )
    model = randomised(BlipForQuestionAnswering(config))
    save(model, folder, binary)
    BlipImageProcessor(size={"height": BLIP_SIDE, "width": BLIP_SIDE}).save_pretrained(folder)
    return model


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model with weights so large that different images look different to it."""
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=stream) * 0.3)
    return model.eval()


def save(model: torch.nn.Module, folder: Path, binary: bool) -> None:
    """Write a model's config and weights, as safetensors or as torch writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    if binary:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder)
