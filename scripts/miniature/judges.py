"""Networks that look at images: BLIP, CLIP, the aesthetic head, both networks called Inception."""

import json
import math
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from .pipelines import seeded, text_config, write_tokenizer

EMBEDDING = 8
"""Width of CLIP's embedding of an image, which the aesthetic head reads; published: 768."""
MEAN = [0.48145466, 0.4578275, 0.40821073]
DEVIATION = [0.26862954, 0.26130258, 0.27577711]
TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def write_blip(folder: Path) -> None:
    """Write Salesforce/blip-vqa-base for images of 32 x 32."""
    from transformers import BlipConfig, BlipForQuestionAnswering

    size, vocabulary = 32, 64
    text = {"vocab_size": vocabulary, "encoder_hidden_size": 32, "projection_dim": EMBEDDING}
    special = {"bos_token_id": 60, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0}
    config = BlipConfig(
        text_config=TINY | text | special,
        vision_config=TINY | {"image_size": size, "patch_size": 8, "initializer_range": 0.2},
        projection_dim=EMBEDDING,
    )
    with seeded("blip"):
        BlipForQuestionAnswering(config).save_pretrained(folder)
    processor = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": MEAN,
        "image_processor_type": "BlipImageProcessor",
        "image_std": DEVIATION,
        "processor_class": "BlipProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def write_clip_large(folder: Path) -> None:
    """Write openai/clip-vit-large-patch14 for images of 28 x 28."""
    _write_clip(folder, size=28, patch=14)


def write_clip_base(folder: Path) -> None:
    """Write openai/clip-vit-base-patch32 for images of 64 x 64."""
    _write_clip(folder, size=64, patch=32)


def _write_clip(folder: Path, size: int, patch: int) -> None:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    write_tokenizer(folder)
    config = CLIPConfig(
        text_config=text_config(CLIPTokenizer.from_pretrained(folder)).to_dict(),
        vision_config=TINY | {"image_size": size, "patch_size": patch, "initializer_factor": 4.0},
        projection_dim=EMBEDDING,
    )
    with seeded("clip", size):
        CLIPModel(config).save_pretrained(folder)
    processor = {
        "crop_size": size,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": MEAN,
        "image_std": DEVIATION,
        "resample": 3,
        "size": size,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def write_aesthetic_head(path: Path) -> None:
    """Write the linear head of LAION; its scores are a few points, as of the published one."""
    with seeded("aesthetic"):
        torch.save({"weight": torch.randn(1, EMBEDDING), "bias": torch.tensor([5.0])}, path)


def write_inception(path: Path) -> None:
    """Write weights for torchvision's inception_v3: its architecture, 27 million numbers.

    Filters sum to zero and keep the variance of what they see, so that images do not look more
    alike from layer to layer. Filters of equal shape are the same, and are stored once.
    """
    from torchvision.models import inception_v3

    with torch.device("meta"):
        network = inception_v3(weights=None, aux_logits=True, init_weights=False)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    with seeded("inception"):
        filters = {
            shape: _filters(shape) for shape in dict.fromkeys(shapes.values()) if len(shape) > 1
        }
    torch.save({n: filters.get(s, _neutral(n, s)) for n, s in shapes.items()}, path)


def _filters(shape: tuple[int, ...]) -> torch.Tensor:
    filters = torch.randn(shape)
    filters -= filters.flatten(1).mean(1).view(-1, *[1] * (len(shape) - 1))
    variance = 0.5 - 0.5 / math.pi  # of what a rectifier makes of a standard normal number
    sharpness = 10 if len(shape) == 2 else 1  # so that classes are told apart
    return filters * (sharpness / math.sqrt(variance * math.prod(shape[1:])))


def _neutral(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    ones = name.endswith(("bn.weight", "running_var"))
    return torch.ones(shape) if ones else torch.zeros(shape)


class _Layers(nn.Module):
    """Stands in for the layers: normalised images (N, 3, H, W) to features (N, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        # torch writes the constants of its own nn.Linear in an order that changes from run to run
        self.weight = nn.Parameter(torch.randn(3 * 8 * 8, 2048) / 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (F.adaptive_avg_pool2d(images, (8, 8)).flatten(1) @ self.weight).relu()


class _Inception2015(nn.Module):
    """The network of the FID, as far as its callers see it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = _Layers()

    def forward(
        self,
        img: torch.Tensor,
        return_features: bool = False,
        use_fp16: bool = False,
        no_output_bias: bool = False,
    ) -> torch.Tensor:
        """Return features (N, 2048) or class probabilities (N, 1008) of images in 0..255."""
        images = F.interpolate(img.float(), size=(299, 299), mode="bilinear", align_corners=False)
        features = self.layers((images - 128) / 128)
        if return_features:
            return features
        return features[:, :1008].softmax(dim=1)


def write_inception_2015(path: Path) -> None:
    """Write the TorchScript module of the FID, tiny inside."""
    with seeded("inception 2015"), warnings.catch_warnings():
        # the published file is TorchScript, whatever torch thinks of it today
        warnings.filterwarnings("ignore", message=".*torch.jit")
        torch.jit.script(_Inception2015().eval()).save(path)
