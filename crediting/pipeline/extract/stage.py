"""Stage extract: the feature extractors, and their features of the reference images."""

from functools import partial
from pathlib import Path
from typing import Any

from crediting.game.coalition import coalition_key, grand_coalition
from crediting.models.checkpoint import save_weights
from crediting.pipeline.artifact import produce_once
from crediting.pipeline.extract.gauges import check_properties, features_of, network_of
from crediting.pipeline.given import reference
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import Study


def extract(study: Study) -> None:
    """Fit every extractor that needs fitting, and store its features of the reference images.

    Raises:
        ConfigError: an extractor says nothing of the images, or a property cannot be measured of
            so few images, against so few, or at all.
    """
    for name, address in study.extracted.items():
        produce_once(study, address, "extract", partial(_fit, study, name))
    if not _measured_before(study):
        check_properties(study, open_machine(study.runtime).device)


def check_extractors(study: Study) -> None:
    """Raise CreditingError now if an extractor still has to be fitted, and cannot be."""
    for name, address in study.extracted.items():
        extractor = study.extractors[name]
        if hasattr(extractor, "check") and not study.has_stored(address):
            extractor.check(study.dataset)


def _measured_before(study: Study) -> bool:
    """Return whether the ledger holds all properties of everybody's model: they can be measured."""
    everybody = coalition_key(grand_coalition(len(study.partition)))
    with study.recorded(study.endpoints) as ledger:
        return not ledger.missing([everybody], 1, study.property_fingerprints)


def _fit(study: Study, name: str, folder: Path) -> dict[str, Any]:
    device = open_machine(study.runtime).device
    extractor = study.extractors[name]
    real, labels = reference(study.dataset)
    images = real.to(device)
    extractor.fit(images, labels, folder)
    features = features_of(name, extractor, network_of(name, extractor, folder, device), images)
    found = {field: value for field, value in features._asdict().items() if value is not None}
    save_weights(folder / "reference.safetensors", found)
    return {"extractor": name, "reference_images": len(images)}
