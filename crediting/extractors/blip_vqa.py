"""BLIP (Li et al., 2022), tuned to answer questions about images: what it sees in a face."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from crediting.assets import HubFolder
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

_KEY = "extractor.blip_vqa.weights"
_PUBLISHED = "Salesforce/blip-vqa-base"
_SETTINGS = ("config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class BlipVqa(Published):
    """Pooled output of the vision part of BLIP-VQA, as the paper clusters faces by (CelebA).

    Only the vision part is read of the model.

    Args:
        weights: a model of the Hugging Face hub, Salesforce/blip-vqa-base, or a folder that holds
            one.
        batch_size: images at a time.
    """

    weights: str
    batch_size: int

    gives: ClassVar[tuple[str, ...]] = ("embeddings",)

    def assets(self) -> Mapping[str, Asset]:
        """Return the model's folder."""
        published = self.weights == _PUBLISHED
        model = HubFolder(
            what="a BLIP model",
            repo=_PUBLISHED,
            patterns=(*_SETTINGS, *(WEIGHTS_FILES[:1] if published else WEIGHTS_FILES)),
            size=1_538_800_000,
            licence="BSD-3-Clause",
            key=_KEY,
            local=self.weights,
            required=(*_SETTINGS, ANY_WEIGHTS),
        )
        return {"weights": model}

    def load(self, folder: Path) -> nn.Module:
        """Return the vision part.

        Raises:
            DataError: the model is not there, damaged, or no BLIP.
        """
        from transformers import BlipConfig, BlipVisionModel

        model = self.assets()["weights"].find()
        config = read_config(model, BlipConfig, _KEY)
        network = assemble(
            lambda: BlipVisionModel(config.vision_config), model, _KEY, {"vision_model.": ""}
        )
        return VisionTower(read_preprocessing(model, _KEY), network, "pooler_output").eval()

    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return embeddings, float64 (N, 768 for the base model)."""
        return Features(in_batches(network, images, self.batch_size))
