"""What baselines read of features and properties."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from crediting.baselines.aggregate import AGGREGATES
from crediting.baselines.settings import check_choice
from crediting.errors import ConfigError
from crediting.interfaces import Extractor, Features, Material, Planned


@dataclass(frozen=True)
class ReadsFeatures:
    """A baseline that reads a field of an extractor's features, by default embeddings.

    Args:
        extractor: whose features are read, or null for the first chosen one that gives embeddings.
        aggregate: mean, max or sum over a contributor's training images.

    Raises:
        ConfigError: there is no such aggregate.
    """

    extractor: str | None
    aggregate: str

    reads: ClassVar[str] = "embeddings"

    def __post_init__(self) -> None:
        check_choice("aggregate", self.aggregate, AGGREGATES)

    def check(self, study: Planned) -> None:
        """Raise ConfigError if the extractor, being a chosen one, does not give the field.

        So it does if it gives scores of generated images alone.
        """
        chosen = None if self.extractor is None else study.extractors.get(self.extractor)
        if chosen is not None and self.reads not in chosen.gives:
            raise _gives_none(self.extractor, self.reads)
        if chosen is not None and self.reads == "scores":
            check_scores(chosen, f"extractor: {self.extractor}")

    def read(self, material: Material, which: str) -> Tensor:
        """Return the field of the training or the generated images, (N, ...); raises as `read`."""
        return read(material, self.extractor, which, self.reads)


def check_scores(extractor: Extractor, key: str) -> None:
    """Raise ConfigError if training images have no scores, being drawn from no prompt.

    One prompt is that of all images; of several, one in turn is that of generated images alone.
    """
    prompts = getattr(extractor, "prompts", None)
    if prompts is not None and len(prompts) > 1:
        raise ConfigError(
            f"{key} scores an image by how well it shows its prompt, one of {len(prompts)} in "
            "turn, and training images were drawn from none; leave this baseline out, or have one "
            "prompt alone"
        )


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
