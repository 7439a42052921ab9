"""Stage extract: the feature extractors, and their features of the reference images."""

from functools import partial
from pathlib import Path
from typing import Any

from crediting.interfaces import Features
from crediting.models.checkpoint import load_weights, save_weights
from crediting.pipeline.artifact import produce_once
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import Study


def extract(study: Study) -> None:
    """Fit every extractor that needs fitting, and store its features of the reference images."""
    for name, address in study.extracted.items():
        produce_once(study, address, "extract", partial(_fit, study, name))


def _fit(study: Study, name: str, folder: Path) -> dict[str, Any]:
    device = open_machine(study.runtime).device
    extractor = study.extractors[name]
    images = study.dataset.reference_images().to(device)
    extractor.fit(images, study.dataset.reference_labels(), folder)
    features = extractor.features(extractor.load(folder).to(device), images)
    found = {field: value for field, value in features._asdict().items() if value is not None}
    save_weights(folder / "reference.safetensors", found)
    return {"extractor": name, "reference_images": len(images)}


def load_reference(folder: Path, device: Any) -> Features:
    """Return the stored features of the reference images."""
    stored = load_weights(folder / "reference.safetensors")
    return Features(**{field: value.to(device) for field, value in stored.items()})
