"""Measuring properties of images: which extractor each reads, loaded when it is first needed."""

import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from crediting.errors import ANY_FAILURE, ConfigError, CreditingError, EvaluationError, naming
from crediting.interfaces import Extractor, Features, Property
from crediting.models.checkpoint import load_weights
from crediting.pipeline.artifact import completed
from crediting.pipeline.machine import all_bits
from crediting.pipeline.study import Study
from crediting.progress import say


class Gauge:
    """An extractor with its network, and the properties that read it, bound to the reference."""

    def __init__(self, study: Study, name: str, device: torch.device) -> None:
        self._name, self._extractor = name, study.extractors[name]
        self._folder = completed(study, study.extracted[name], "extract")
        self._device = device
        # not kept: most properties need much less of it
        reference = load_reference(self._folder, device)
        self.measures = {
            key: _bound(key, measured, reference)
            for key, measured in study.properties.items()
            if study.readers[key] == name
        }

    @cached_property
    def _network(self) -> Any:
        return network_of(self._name, self._extractor, self._folder, self._device)

    def features(self, images: torch.Tensor) -> Features:
        """Return the extractor's features of images, uint8 (N, C, H, W)."""
        return features_of(self._name, self._extractor, self._network, images)

    def try_out(self, images: int, key: str) -> None:
        """Measure all properties of as many reference images, some repeated.

        Args:
            images: how many.
            key: the setting that says so, for messages.

        Raises:
            CreditingError: that is too few of them for a property, or a property cannot be measured
                of any images.
        """
        reference = load_reference(self._folder, self._device)
        count = len(next(field for field in reference if field is not None))
        chosen = torch.arange(images, device=self._device) % count
        fields = [None if field is None else field[chosen] for field in reference]
        for name, measure in self.measures.items():
            try:
                value = float(measure(Features(*fields)))
            except CreditingError as error:
                raise type(error)(f"{key}={images}: {error}") from error
            except ANY_FAILURE as error:
                raise ConfigError(
                    f"property.{name}: cannot be measured of {images} reference images "
                    f"({type(error).__name__}: {error}); nothing was trained for it yet. Mend it, "
                    "or leave it out"
                ) from error
            if not math.isfinite(value):
                raise ConfigError(
                    f"property.{name}: is {value} of {images} reference images; nothing was "
                    "trained for it yet. Mend it or its extractor, or leave it out"
                )


def _bound(name: str, measured: Property, reference: Features) -> Callable[[Features], float]:
    """Return the measure of a property, which may be anybody's."""
    try:
        with naming(f"property.{name}"):
            measure = measured.bind(reference)
    except CreditingError:
        raise
    except ANY_FAILURE as error:
        raise ConfigError(
            f"property.{name}: cannot be bound to the reference images ({type(error).__name__}: "
            f"{error}); mend it, or leave it out"
        ) from error

    def named(generated: Features) -> float:
        with naming(f"property.{name}"):
            return measure(generated)

    return named


def network_of(
    name: str, extractor: Extractor, folder: Path, device: torch.device
) -> torch.nn.Module:
    """Return the network of an extractor, which may be anybody's, on a device.

    Raises:
        ConfigError: it has none.
    """
    network = extractor.load(folder)
    if not isinstance(network, torch.nn.Module):
        raise ConfigError(
            f"extractor.{name}: expected load() to return a torch.nn.Module, got "
            f"{type(network).__name__}; if it needs none, torch.nn.Identity() will do"
        )
    return network.to(device)


def features_of(
    name: str, extractor: Extractor, network: torch.nn.Module, images: torch.Tensor
) -> Features:
    """Return what an extractor, which may be anybody's, says of images, uint8 (N, C, H, W).

    Raises:
        ConfigError: that is no `Features` of them.
    """
    with all_bits():
        features = extractor.features(network, images)
    if not isinstance(features, Features):
        raise ConfigError(
            f"extractor.{name}: expected features() to return crediting.interfaces.Features, "
            f"got {type(features).__name__}"
        )
    for field in extractor.gives:
        found = getattr(features, field)
        if not isinstance(found, torch.Tensor) or found.shape[:1] != images.shape[:1]:
            got = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise ConfigError(
                f"extractor.{name}: expected {field} of {len(images)} images, a tensor with one "
                f"row for each, as `gives` says; got {got}"
            )
    return features


def check_properties(study: Study, device: torch.device) -> None:
    """Refuse now what would else be refused of every coalition, after all have been trained.

    Raises:
        ConfigError: a property cannot be measured of so few images, or against so few.
    """
    try_out(study, study.generation.images, "generation.images", device)
    for name in gauged(study):
        _advise(study, name, device)


def try_out(study: Study, images: int, key: str, device: torch.device) -> None:
    """Measure all properties of as many reference images, as the setting `key` says.

    Raises:
        CreditingError: as `Gauge.try_out`.
    """
    for name in gauged(study):
        Gauge(study, name, device).try_out(images, key)


def _advise(study: Study, extractor: str, device: torch.device) -> None:
    """Say what properties have to say of as many images, against their reference."""
    reference = load_reference(completed(study, study.extracted[extractor], "extract"), device)
    for name, measured in study.properties.items():
        if study.readers[name] == extractor and hasattr(measured, "advice"):
            advice = measured.advice(study.generation.images, reference)
            if advice:
                say(f"{name}: {advice}")


def gauged(study: Study) -> list[str]:
    """Return the extractors that a property reads."""
    return [name for name in study.extractors if name in study.readers.values()]


class Gauges:
    """All gauges of a study, those alone that properties read."""

    def __init__(self, study: Study, device: torch.device) -> None:
        self._gauges = [Gauge(study, name, device) for name in gauged(study)]

    def measure(
        self, images: torch.Tensor, properties: Iterable[str]
    ) -> Iterator[tuple[str, float | str]]:
        """Yield every property asked for with its value, or with the traceback of its failure.

        Raises:
            OSError, CreditingError: an extractor's files cannot be used, for any image.
        """
        asked = set(properties)
        for gauge in self._gauges:
            wanted = [name for name in gauge.measures if name in asked]
            if not wanted:
                continue
            try:
                features = gauge.features(images)
            except (OSError, CreditingError):
                raise
            except ANY_FAILURE:
                yield from dict.fromkeys(wanted, traceback.format_exc()).items()
                continue
            for name in wanted:
                try:
                    yield name, _finite(name, float(gauge.measures[name](features)))
                except ANY_FAILURE:
                    yield name, traceback.format_exc()


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise EvaluationError(
            f"property {name} is {value}: the images of this coalition's model are degenerate, "
            "which usually means that its training diverged; lower the learning rate"
        )
    return value


def load_reference(folder: Path, device: Any) -> Features:
    """Return the stored features of the reference images."""
    stored = load_weights(folder / "reference.safetensors")
    return Features(**{field: value.to(device) for field, value in stored.items()})
