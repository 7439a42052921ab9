"""Properties are measured by the extractor they read, each loaded once and only if it is needed."""

from types import SimpleNamespace

import pytest
import torch

from crediting.errors import ConfigError, CreditingError, DataError, EvaluationError
from crediting.interfaces import Features
from crediting.pipeline.extract import gauges
from crediting.properties import ClusterDiversity, FrechetDistance, KernelDistance, Recall

IMAGES = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)


class Network(torch.nn.Module):
    pass


class Brightness:
    """Gives the mean of the images as scores; counts what is asked of it."""

    gives = ("scores",)

    def __init__(self, problem=None):
        self.loaded, self.looked, self.problem = 0, 0, problem

    def load(self, folder):
        self.loaded += 1
        return Network()

    def features(self, network, images):
        self.looked += 1
        if self.problem:
            raise self.problem
        return Features(scores=images.double().mean(dim=(1, 2, 3)))


class Mean:
    def __init__(self, offset=0.0):
        self.offset = offset

    def bind(self, reference):
        return lambda generated: float(generated.scores.mean()) + self.offset


@pytest.fixture
def opened(monkeypatch):
    """Return a function that opens the gauges of a study made of these extractors."""
    monkeypatch.setattr(gauges, "completed", lambda study, address, stage: address)
    monkeypatch.setattr(gauges, "load_reference", lambda folder, device: Features())

    def open_gauges(extractors, properties, readers):
        study = SimpleNamespace(
            extractors=extractors,
            extracted=dict.fromkeys(extractors, "folder"),
            properties=properties,
            readers=readers,
        )
        return gauges.Gauges(study, torch.device("cpu"))

    return open_gauges


PROPERTIES = {"one": Mean(1.0), "two": Mean(2.0), "other": Mean(3.0)}
READERS = {"one": "first", "two": "first", "other": "second"}


def test_every_property_is_measured_by_its_own_extractor(opened):
    extractors = {"first": Brightness(), "second": Brightness(), "unread": Brightness()}
    found = opened(extractors, PROPERTIES, READERS)
    assert dict(found.measure(IMAGES, PROPERTIES)) == {"one": 1.0, "two": 2.0, "other": 3.0}
    assert [e.looked for e in extractors.values()] == [1, 1, 0]
    found.measure(IMAGES, PROPERTIES)
    dict(found.measure(IMAGES, PROPERTIES))
    assert [e.loaded for e in extractors.values()] == [1, 1, 0]


def test_what_is_not_asked_for_is_not_even_loaded(opened):
    extractors = {"first": Brightness(), "second": Brightness()}
    found = opened(extractors, PROPERTIES, READERS)
    assert dict(found.measure(IMAGES, ["other"])) == {"other": 3.0}
    assert extractors["first"].loaded == 0


def test_an_extractor_that_fails_takes_only_its_own_properties_along(opened):
    extractors = {"first": Brightness(ValueError("too dark")), "second": Brightness()}
    found = dict(opened(extractors, PROPERTIES, READERS).measure(IMAGES, PROPERTIES))
    assert found["other"] == 3.0
    assert all("ValueError: too dark" in found[name] for name in ("one", "two"))


def test_what_the_user_can_mend_is_raised(opened):
    extractors = {"first": Brightness(DataError("no weights")), "second": Brightness()}
    with pytest.raises(DataError, match="no weights"):
        dict(opened(extractors, PROPERTIES, READERS).measure(IMAGES, PROPERTIES))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_a_failure(opened, value):
    properties = {**PROPERTIES, "one": Mean(value)}
    found = dict(
        opened({"first": Brightness(), "second": Brightness()}, properties, READERS).measure(
            IMAGES, properties
        )
    )
    assert "EvaluationError: property one is" in found["one"]
    assert found["two"] == 2.0


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"scores": torch.zeros(3)}, "Features, got dict"),
        (None, "Features, got NoneType"),
        (Features(), "scores of 3 images, .* got NoneType"),
        (Features(scores=torch.zeros(2)), r"scores of 3 images, .* got \(2,\)"),
        (Features(scores=[0.0] * 3), "scores of 3 images, .* got list"),
    ],
)
def test_an_extractor_must_say_something_of_every_image(opened, said, complaint):
    extractor = Brightness()
    extractor.features = lambda network, images: said
    found = opened({"first": extractor}, {"one": Mean()}, {"one": "first"})
    with pytest.raises(ConfigError, match=f"extractor.first: expected .*{complaint}"):
        list(found.measure(IMAGES, ["one"]))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        *((made, "cannot be measured") for made in ("text", [1.0, 2.0], 1j, ValueError("green"))),
        *((value, f"is {value}") for value in (float("nan"), float("-inf"))),
    ],
)
def test_a_property_that_says_nothing_is_refused_before_anything_is_trained(opened, made, said):
    def measure(generated):
        if isinstance(made, Exception):
            raise made
        return made

    study = SimpleNamespace(
        extractors={"first": Brightness()},
        extracted={"first": "folder"},
        properties={"one": SimpleNamespace(bind=lambda reference: measure)},
        readers={"one": "first"},
        generation=SimpleNamespace(images=2),
    )
    opened({}, {}, {})
    gauges.load_reference = lambda folder, device: Features(scores=torch.zeros(3))
    with pytest.raises(ConfigError, match=rf"property\.one: {said} of 2 reference"):
        gauges.check_properties(study, torch.device("cpu"))


@pytest.mark.parametrize(
    ("images", "known", "said"),
    [(2, 40, "from 2 images"), (16, 40, "from 16 images"), (40, 9, "from 9 images"), (17, 40, "")],
)
def test_a_property_says_that_images_are_few(images, known, said, opened, capsys):
    opened({}, {}, {})
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(known, 16, dtype=torch.float64, generator=generator)
    gauges.load_reference = lambda folder, device: Features(embeddings=reference)
    study = SimpleNamespace(
        extractors={"first": Brightness()},
        extracted={"first": "folder"},
        properties={"fid": FrechetDistance(None), "one": Mean()},
        readers={"fid": "first", "one": "second"},
        generation=SimpleNamespace(images=images),
    )
    gauges.check_properties(study, torch.device("cpu"))
    told = capsys.readouterr().err
    assert told.startswith("fid: covariances of 16 dimensions") if said else not told
    assert said in told


def test_too_few_images_are_named_with_their_key_and_the_property(opened):
    opened({}, {}, {})
    gauges.load_reference = lambda folder, device: Features(embeddings=torch.zeros(4, 2))
    study = SimpleNamespace(
        extractors={"first": Brightness()},
        extracted={"first": "folder"},
        properties={"fid": FrechetDistance(None)},
        readers={"fid": "first"},
        generation=SimpleNamespace(images=1),
    )
    with pytest.raises(
        EvaluationError, match=r"^generation\.images=1: property\.fid: a covariance"
    ):
        gauges.check_properties(study, torch.device("cpu"))


@pytest.mark.parametrize(
    ("mine", "images", "said"),
    [
        (KernelDistance(None, 5, 1, 0), 9, r"property\.mine\.subset_size: expected 5 reference"),
        (ClusterDiversity(None, 20), 9, r"property\.mine\.clusters: expected no more than the 4"),
        (Recall(None, 3), 3, r"generation\.images=3: property\.mine\.neighbours: .* 3 images"),
        (FrechetDistance(None), 1, r"generation\.images=1: property\.mine: a covariance takes"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_as_the_user_calls_it(opened, mine, images, said):
    opened({}, {}, {})
    gauges.load_reference = lambda folder, device: Features(embeddings=torch.eye(4).double())
    study = SimpleNamespace(
        extractors={"first": Brightness()},
        extracted={"first": "folder"},
        properties={"mine": mine},
        readers={"mine": "first"},
        generation=SimpleNamespace(images=images),
    )
    with pytest.raises(CreditingError, match=f"^{said}"):
        gauges.check_properties(study, torch.device("cpu"))


def test_a_property_that_cannot_be_bound_is_named(opened):
    def bind(reference):
        raise ValueError("no green")

    properties = {"one": SimpleNamespace(bind=bind)}
    with pytest.raises(ConfigError, match=r"property\.one: cannot be bound .*ValueError: no green"):
        opened({"first": Brightness()}, properties, {"one": "first"})
