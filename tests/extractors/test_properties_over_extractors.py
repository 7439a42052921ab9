"""Every property over every extractor that gives what it needs, on images it really looked at."""

import math

import numpy as np
import pytest
import torch
from tiny_hub import pictures, save_blip, save_clip

from crediting.extractors import (
    Aesthetic,
    BlipVqa,
    CleanFidInception,
    Clip,
    InceptionV3,
    ReferenceClassifier,
    clean_fid,
)
from crediting.interfaces import Features
from crediting.properties import (
    ClusterDiversity,
    Diversity,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    MeanScore,
    Precision,
    QuantileScore,
    Recall,
)

PROPERTIES = [
    InceptionScore(None),
    Diversity(None),
    FrechetDistance(None),
    KernelDistance(None, None, 1, 0),
    Precision(None, 3),
    Recall(None, 3),
    MeanScore(None),
    QuantileScore(None, 0.9),
    ClusterDiversity(None, 3),
]
EXTRACTORS = [Aesthetic, BlipVqa, CleanFidInception, Clip, InceptionV3, ReferenceClassifier]
PAIRS = [
    (prop, extractor)
    for prop in PROPERTIES
    for extractor in EXTRACTORS
    if prop.needs in extractor.gives
]


class _Inception(torch.nn.Module):
    """Stands in for the two Inceptions, which are too large for every test."""

    def __init__(self):
        super().__init__()
        self.avgpool = torch.nn.AdaptiveAvgPool2d(2)
        self.fc = torch.nn.Linear(12, 4)

    def layers(self, images):
        return self.avgpool(images)

    def forward(self, images):
        return self.fc(self.avgpool(images).flatten(1))


def _loaded(extractor_class, folder):
    """Return a small extractor of a class, and its network."""
    if extractor_class is InceptionV3:
        return InceptionV3(None, 8), _Inception()
    if extractor_class is CleanFidInception:
        return CleanFidInception(None, None, 8), clean_fid._Inception(_Inception())
    if extractor_class is BlipVqa:
        save_blip(folder)
        extractor = BlipVqa(str(folder), 8)
    elif extractor_class is ReferenceClassifier:
        extractor = ReferenceClassifier(4, 8, 5, 8, 1e-3, 1.0, 10, 0.1, 0)
        extractor.fit(pictures(24, 3, 28, 28), np.arange(24) % 4, folder)
    else:
        save_clip(folder)
        torch.save({"weight": torch.ones(1, 8), "bias": torch.ones(1)}, folder / "head.pth")
        head, prompts = str(folder / "head.pth"), ["a cat", "a dog"]
        aesthetic = extractor_class is Aesthetic
        extractor = extractor_class(str(folder), head if aesthetic else prompts, 8)
    return extractor, extractor.load(folder)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """Return the features of reference images and of generated ones, by class of extractor."""
    features = {}
    for kind in EXTRACTORS:
        extractor, network = _loaded(kind, tmp_path_factory.mktemp(kind.__name__))
        reference = extractor.features(network, pictures(24, 3, 28, 28))
        features[kind] = reference, extractor.features(network, pictures(20, 3, 28, 28))
    return features


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_an_extractor_gives_what_it_says(looked_at, kind):
    for features, number in zip(looked_at[kind], (24, 20), strict=True):
        given = {name: value for name, value in features._asdict().items() if value is not None}
        assert tuple(given) == kind.gives
        for name, value in given.items():
            assert value.dtype == torch.float64
            assert value.shape[0] == number
            assert value.dim() == (1 if name == "scores" else 2)


def test_every_property_has_an_extractor_and_every_extractor_a_property():
    assert {prop for prop, _ in PAIRS} == set(PROPERTIES)
    assert {extractor for _, extractor in PAIRS} == set(EXTRACTORS)
    assert {field for extractor in EXTRACTORS for field in extractor.gives} == {*Features._fields}


@pytest.mark.parametrize(("prop", "extractor"), PAIRS)
def test_a_property_is_measured_over_an_extractor(looked_at, prop, extractor):
    reference, generated = looked_at[extractor]
    value = prop.bind(reference)(generated)
    assert isinstance(value, float)
    assert math.isfinite(value)
