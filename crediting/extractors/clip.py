"""CLIP (Radford et al., 2021): images and prompts in one space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crediting.assets import HubFolder
from crediting.assets.messages import in_short
from crediting.errors import ConfigError, DataError
from crediting.extractors.published import Published, in_batches
from crediting.extractors.vision import (
    ANY_WEIGHTS,
    WEIGHTS_FILES,
    VisionTower,
    assemble,
    read_config,
    read_preprocessing,
)
from crediting.interfaces import Asset, Features

_KEY = "extractor.clip.weights"
SMALL, LARGE = "openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14"
_PUBLISHED = {
    SMALL: ("pytorch_model.bin", 605_250_000),
    LARGE: ("model.safetensors", 1_710_540_580),
}
_SETTINGS = ("config.json", "preprocessor_config.json")
_TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json")


@dataclass(frozen=True)
class Clip(Published):
    """Image embeddings of unit length and, given prompts, how well images show them (CLIPScore).

    Args:
        weights: a model of the Hugging Face hub, such as openai/clip-vit-base-patch32, or a
            folder that holds one.
        prompts: what the images are to show, in turn, as a generation draws them: image i prompt
            i % k. Without any there are no scores. A prompt is cut where the model's reading
            ends, at 77 tokens.
        batch_size: images at a time.
    """

    weights: str
    prompts: Sequence[str] | None
    batch_size: int

    gives: ClassVar[tuple[str, ...]] = ("embeddings", "scores")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.prompts, str) or (self.prompts is not None and not self.prompts):
            raise ConfigError(
                f"prompts: expected a list of prompts or null, got {self.prompts!r}; set "
                "extractor.clip.prompts=null to do without scores"
            )
        if self.prompts is None:
            object.__setattr__(self, "gives", ("embeddings",))  # of this one, not of the class

    def assets(self) -> Mapping[str, Asset]:
        """Return the model's folder."""
        reads = self.prompts is not None
        return {"weights": clip_folder(self.weights, SMALL, _KEY, with_text=reads)}

    def load(self, folder: Path) -> nn.Module:
        """Return the vision part with the embedded prompts; what reads text is let go again.

        Raises:
            DataError: the model is not there, damaged, or no CLIP.
        """
        model = self.assets()["weights"].find()
        network = nn.Module()
        network.tower = clip_tower(model, _KEY)
        prompts = None if self.prompts is None else _embedded(self.prompts, model)
        network.register_buffer("prompts", prompts)
        return network.eval()

    @torch.inference_mode()
    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return embeddings (N, d) of length 1 and, given prompts, scores (N,), float64.

        A score is 100 max(cos(image, prompt), 0) as in CLIPScore (Hessel et al., 2021).
        """
        embeddings = unit_embeddings(network.tower, images, self.batch_size)
        if network.prompts is None:
            return Features(embeddings)
        shown = torch.arange(len(images), device=images.device) % len(network.prompts)
        cosines = (embeddings * network.prompts[shown]).sum(dim=1)
        return Features(embeddings, scores=100 * cosines.clamp(min=0))


def clip_folder(model: str, published: str, key: str, with_text: bool) -> HubFolder:
    """Return the files of a CLIP that are needed.

    Args:
        model: an id on the hub, or a folder.
        published: what to advise instead of a folder that is not good: SMALL or LARGE.
        key: the config key that names the model.
        with_text: whether it is to read prompts, too.
    """
    repo = model if model in _PUBLISHED else published
    file, size = _PUBLISHED[repo]
    settings = (*_SETTINGS, "tokenizer_config.json") if with_text else _SETTINGS
    return HubFolder(
        what="a CLIP model",
        repo=repo,
        patterns=(
            *settings,
            *(_TOKENIZER if with_text else ()),
            *((file,) if model == repo else WEIGHTS_FILES),
        ),
        size=size,
        licence="MIT",
        key=key,
        local=model,
        required=(*settings, ANY_WEIGHTS),
    )


def clip_tower(folder: Path, key: str) -> VisionTower:
    """Return the vision part of a CLIP: from images to embeddings in the space of the prompts.

    Raises:
        DataError: a file is missing or damaged, or not of a CLIP.
    """
    from transformers import CLIPConfig, CLIPVisionModelWithProjection

    config = read_config(folder, CLIPConfig, key)
    config.vision_config.projection_dim = config.projection_dim
    network = assemble(
        lambda: CLIPVisionModelWithProjection(config.vision_config),
        folder,
        key,
        {prefix: prefix for prefix in ("vision_model.", "visual_projection.")},
    )
    return VisionTower(read_preprocessing(folder, key), network, "image_embeds")


def unit_embeddings(tower: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Return embeddings of length 1, float64 (N, d), of images, uint8 (N, C, H, W)."""
    return F.normalize(in_batches(tower, images, batch_size), dim=1)


@torch.inference_mode()
def _embedded(prompts: Sequence[str], folder: Path) -> Tensor:
    """Return embeddings of prompts, of length 1, float64 (k, d)."""
    from transformers import CLIPConfig, CLIPTextModelWithProjection, CLIPTokenizer

    config = read_config(folder, CLIPConfig, _KEY)
    config.text_config.projection_dim = config.projection_dim
    network = assemble(
        lambda: CLIPTextModelWithProjection(config.text_config),
        folder,
        _KEY,
        {prefix: prefix for prefix in ("text_model.", "text_projection.")},
    )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "merges.txt")):
        raise DataError(f"{_KEY}: expected tokenizer.json or merges.txt in {folder}, found neither")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises whatever it stumbles over
        raise DataError(
            f"{_KEY}: {folder} holds no tokenizer that can be read ({in_short(error)}); fetch it "
            "anew, or name another"
        ) from error
    tokens = tokenizer(
        list(prompts),
        padding=True,
        truncation=True,
        max_length=config.text_config.max_position_embeddings,
        return_tensors="pt",
    )
    return F.normalize(network(**tokens).text_embeds.double(), dim=1)
