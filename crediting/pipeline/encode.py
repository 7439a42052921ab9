"""Stage encode: the training examples in model space, and the prompts to draw, embedded once."""

import hashlib
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from crediting.errors import ConfigError, first_of
from crediting.generation.sampling import CAPTIONS
from crediting.models.checkpoint import load_weights, save_weights
from crediting.models.pretrained import forget
from crediting.pipeline.artifact import completed, produce_once
from crediting.pipeline.given import training_images
from crediting.pipeline.machine import open_machine
from crediting.pipeline.prompts import captions_of
from crediting.pipeline.study import Study
from crediting.progress import say
from crediting.training.examples import Examples

_FILE = "tensors.safetensors"


def encode(study: Study) -> None:
    """Encode the training images, and embed the prompts if the model reads any."""
    produce_once(study, study.examples, "encode", partial(_encode, study))
    _tell_shared_images(study)
    if study.model.conditional:
        produce_once(study, study.prompts, "embed", partial(_embed, study))
    forget()  # the networks that encode stay on the device otherwise


def load_examples(study: Study, device: torch.device) -> Examples:
    """Return the stored training examples on a device.

    Raises:
        ConfigError: they were encoded for a denoiser of another shape: they do not depend on it.
    """
    stored = load_weights(completed(study, study.examples, "encode") / _FILE)
    examples = Examples.from_tensors(stored)
    expected, found = study.model.latent_shape(), tuple(examples.latents.shape[1:])
    if found != expected:
        raise ConfigError(
            f"model: expected training examples of shape {expected}, as its denoiser reads them, "
            f"got {found} from this dataset; correct the size and channels of the dataset, or "
            "those of the denoiser (model.unet.sample_size, in_channels and out_channels, or "
            "model.size)"
        )
    return examples.to(device)


def load_prompts(study: Study, device: torch.device) -> torch.Tensor | None:
    """Return the embedded prompts, (1 + k, tokens, width), the empty one first; None without."""
    if not study.model.conditional:
        return None
    return load_weights(completed(study, study.prompts, "encode") / _FILE)["prompts"].to(device)


def _encode(study: Study, folder: Path) -> dict[str, Any]:
    device = open_machine(study.runtime).device
    images = training_images(study.dataset, study.partition.n_examples).to(device)
    examples = study.model.encode(images, study.dataset.columns())
    save_weights(folder / _FILE, examples.tensors())
    return {
        "examples": len(examples),
        "shape": list(examples.latents.shape[1:]),
        "alike": _alike(images),
    }


def _alike(images: torch.Tensor) -> list[list[int]]:
    """Return the groups of images (N, C, H, W) that are equal in every pixel, by their numbers."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for number, image in enumerate(images.cpu()):
        groups[hashlib.sha256(image.contiguous().numpy()).digest()].append(number)
    return [group for group in groups.values() if len(group) > 1]


def _tell_shared_images(study: Study) -> None:
    """Say if one image is the training image of several contributors, who then share its credit."""
    alike = study.manifest(study.examples)["facts"].get("alike", [])
    owner, names = study.partition.owner, study.partition.names
    shared = [g for g in alike if len(set(owner[g].tolist())) > 1]
    if shared:
        paths = study.dataset.columns().get("path", range(study.partition.n_examples))
        first = first_of([f"{paths[number]} ({names[owner[number]]})" for number in shared[0]])
        others = f"; such images: {len(shared):,}" if len(shared) > 1 else ""
        say(f"encode: contributors who own the same image share its credit: {first}{others}")


def _embed(study: Study, folder: Path) -> dict[str, Any]:
    device = open_machine(study.runtime).device
    prompts = study.drawn_prompts
    if study.generation.prompts == CAPTIONS and len(prompts) < (known := len(captions_of(study))):
        say(
            f"generate: images show {len(prompts):,} of the {known:,} captions, spread evenly over "
            f"the dataset; generation.images={known} would show all"
        )
    save_weights(folder / _FILE, {"prompts": study.model.embed(["", *prompts], device)})
    return {"prompts": prompts}
