"""The aesthetic score of LAION: how much people would like an image, by its CLIP embedding."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from crediting.assets import UrlFile
from crediting.extractors.clip import LARGE, clip_folder, clip_tower, unit_embeddings
from crediting.extractors.published import Published, fill, read_weights
from crediting.interfaces import Asset, Features

_KEY = "extractor.aesthetic"
_URL = (
    "https://github.com/LAION-AI/aesthetic-predictor/raw/"
    "7e37768a02b0863eac390a702903aaa90ecf938e/sa_0_4_vit_l_14_linear.pth"
)


@dataclass(frozen=True)
class Aesthetic(Published):
    """CLIP image embeddings of unit length, and LAION's linear prediction of 1 to 10 from them.

    The paper's property of paintings (ArtBench) is a quantile of these scores.

    Args:
        weights: the CLIP that the head was trained on, openai/clip-vit-large-patch14, or a folder
            that holds it.
        head: a local `sa_0_4_vit_l_14_linear.pth`, or null for the published one.
        batch_size: images at a time.
    """

    weights: str
    head: str | None
    batch_size: int

    gives: ClassVar[tuple[str, ...]] = ("embeddings", "scores")

    def assets(self) -> Mapping[str, Asset]:
        """Return the folder of the CLIP and the file of the head."""
        head = UrlFile(
            what="the linear head of LAION's aesthetic predictor",
            url=_URL,
            sha256=None,
            size=4_000,
            licence="MIT",
            key=f"{_KEY}.head",
            local=self.head,
        )
        model = clip_folder(self.weights, LARGE, f"{_KEY}.weights", with_text=False)
        return {"weights": model, "head": head}

    def load(self, folder: Path) -> nn.Module:
        """Return the vision part of the CLIP, and the head.

        Raises:
            DataError: one of them is not there or damaged, or they do not fit each other.
        """
        assets = self.assets()
        tower = clip_tower(assets["weights"].find(), f"{_KEY}.weights")
        path, key = assets["head"].find(), f"{_KEY}.head"
        head = nn.Linear(tower.network.config.projection_dim, 1, device="meta")
        fill(head, read_weights(path, key), path, key)
        return nn.ModuleDict({"tower": tower, "head": head.double()}).eval()

    @torch.inference_mode()
    def features(self, network: nn.Module, images: Tensor) -> Features:
        """Return embeddings (N, d) of length 1 and scores (N,), float64."""
        embeddings = unit_embeddings(network["tower"], images, self.batch_size)
        return Features(embeddings, scores=network["head"](embeddings).squeeze(1))
