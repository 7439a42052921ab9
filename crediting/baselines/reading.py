"""What baselines read of features and properties."""

from torch import Tensor

from crediting.errors import ConfigError
from crediting.interfaces import Features, Material, Planned


def check_gives(study: Planned, extractor: str | None, field: str) -> None:
    """Raise ConfigError if a chosen extractor, called by its name, does not give a field."""
    chosen = None if extractor is None else study.extractors.get(extractor)
    if chosen is not None and field not in chosen.gives:
        raise _gives_none(extractor, field)


def read(material: Material, extractor: str | None, which: str, field: str) -> Tensor:
    """Return a field of the features of the training or the generated images, (N, ...).

    Raises:
        ConfigError: the extractor does not give it, or is not among the chosen ones.
    """
    values = getattr(material.features(extractor, which), field)
    if values is None:
        raise _gives_none(extractor, field)
    return values


def _gives_none(extractor: str | None, field: str) -> ConfigError:
    return ConfigError(
        f"extractor: expected one that gives {field}, and {extractor} gives none; name another "
        "here, and choose it under extractor=[...]"
    )


def measure_rows(material: Material, name: str, features: Features, rows: Tensor) -> float:
    """Return a property of some of the images, given by their numbers, which may repeat.

    Args:
        material: measures.
        name: of the property.
        features: of all the images, by the extractor that the property reads.
        rows: int64 (count,).
    """
    field = material.properties[name].needs
    values = getattr(features, field)
    assert values is not None, f"no {field}: the extractor does not give what {name} needs"
    return material.measure(name, Features()._replace(**{field: values[rows]}))


def improvement(material: Material, name: str, value: float) -> float:
    """Return a value of a property, its sign turned where lower is better."""
    return value if material.properties[name].higher_is_better else -value
