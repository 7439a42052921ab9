"""Stage extract: the feature extractor, and its features of the reference images."""

from pathlib import Path
from typing import Any

from crediting.interfaces import Features
from crediting.models.checkpoint import load_weights, save_weights
from crediting.pipeline.artifact import produce_once
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import Study


def extract(study: Study) -> None:
    """Fit the extractor where it needs fitting, and store it with the reference features."""

    def produce(folder: Path) -> dict[str, Any]:
        device = open_machine(study.runtime).device
        images = study.dataset.reference_images().to(device)
        network = study.extractor.fit(images, study.dataset.reference_labels())
        features = study.extractor.features(network, images)
        save_weights(folder / "network.safetensors", network.state_dict())
        save_weights(folder / "reference.safetensors", features._asdict())
        return {"reference_images": len(images)}

    produce_once(study, study.extracted, "extract", produce)


def load_reference(folder: Path, device: Any) -> Features:
    """Return the stored features of the reference images."""
    stored = load_weights(folder / "reference.safetensors")
    return Features(stored["embeddings"].to(device), stored["logits"].to(device))
