"""Prompts to embeddings, through the frozen text encoder of Stable Diffusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from crediting.assets.messages import in_short
from crediting.errors import DataError
from crediting.models.pretrained import frozen, read_config, read_network


def embed(root: Path, prompts: Sequence[str], device: torch.device, batch: int) -> torch.Tensor:
    """Return the last hidden state of CLIP's text encoder for prompts, float32 (N, tokens, width).

    Prompts are padded, or cut, to the length that the tokenizer is for.

    Args:
        root: a pipeline with `tokenizer/` and `text_encoder/`.
        prompts: what to embed.
        device: where to work, and where the result is.
        batch: prompts at a time.

    Raises:
        DataError: the text encoder or its tokenizer cannot be read.
    """
    tokenizer = _tokenizer(root / "tokenizer")
    encoder: Any = frozen(_read_encoder, device, root / "text_encoder")
    if len(tokenizer) != encoder.config.vocab_size:
        # made of what is there, without a word, where files are missing: all prompts look alike
        raise DataError(
            f"model.pretrained: {root / 'tokenizer'} holds a tokenizer of {len(tokenizer):,} "
            f"tokens, expected {encoder.config.vocab_size:,}, as the text encoder reads; delete "
            "the folder and fetch it again, or name another one."
        )
    tokens = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=length(root),
        truncation=True,
        return_tensors="pt",
    )
    masked = getattr(encoder.config, "use_attention_mask", False)
    read = ("input_ids", "attention_mask") if masked else ("input_ids",)
    hidden = []
    with torch.no_grad():
        for start in range(0, len(prompts), batch):
            part = {name: tokens[name][start : start + batch].to(device) for name in read}
            hidden.append(encoder(**part).last_hidden_state)
    return torch.cat(hidden)


def length(root: Path) -> int:
    """Return how many tokens a prompt is padded to."""
    needed = "max_position_embeddings"
    config = read_config(root / "text_encoder" / "config.json", "model.pretrained", needed)
    return int(config[needed])


def distinct_captions(columns: Mapping[str, NDArray]) -> tuple[list[str], torch.Tensor]:
    """Return the distinct captions in order, and which of them each example has, int64 (N,).

    Raises:
        DataError: the dataset has no captions.
    """
    if "caption" not in columns:
        raise DataError(
            "dataset: expected a column `caption`, because this model learns from images and "
            f"their captions, found the columns {', '.join(sorted(columns)) or 'none'}; give the "
            "dataset captions, or choose a model without prompts, such as model=ddpm."
        )
    captions = [str(caption) for caption in columns["caption"]]
    distinct = list(dict.fromkeys(captions))
    number = {caption: index for index, caption in enumerate(distinct)}
    return distinct, torch.tensor([number[caption] for caption in captions], dtype=torch.long)


def _read_encoder(folder: Path) -> nn.Module:
    from transformers import CLIPTextModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # a second at most, and it would stand among the stages
    return read_network(folder, {"CLIPTextModel": CLIPTextModel}, "model.pretrained")


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the library raises whatever it stumbles over
        raise DataError(
            f"model.pretrained: {folder} holds no tokenizer that can be read ({in_short(error)}); "
            "delete the folder and fetch it again, or name another one."
        ) from error
