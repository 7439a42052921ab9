import math

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance
from scipy import stats
from scipy.special import log_softmax, softmax

from crediting.interfaces import Features
from crediting.properties import Diversity, FrechetDistance, InceptionScore

PROPERTIES = [InceptionScore(), FrechetDistance(), Diversity()]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def features(embeddings=None, logits=None):
    embeddings = normal(50, 6) if embeddings is None else embeddings
    logits = normal(50, 4) if logits is None else logits
    return Features(torch.as_tensor(embeddings).double(), torch.as_tensor(logits).double())


REFERENCE = features(normal(80, 6, seed=1), normal(80, 4, seed=2))


# ---------------------------------------------------------------------------- inception score


def inception_score(logits):
    return InceptionScore().bind(REFERENCE)(features(logits=logits))


@pytest.mark.parametrize(("n", "k", "sharpness"), [(7, 3, 1), (200, 10, 5), (64, 1000, 3)])
def test_inception_score_is_exp_of_the_mean_divergence(n, k, sharpness):
    logits = sharpness * normal(n, k)
    p, log_p = softmax(logits, axis=1), log_softmax(logits, axis=1)
    divergence = (p * (log_p - np.log(p.mean(axis=0)))).sum(axis=1)
    assert inception_score(logits) == pytest.approx(np.exp(divergence.mean()), rel=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save:UserWarning")
@pytest.mark.filterwarnings(r"ignore:std\(\). degrees of freedom is <= 0:UserWarning")
def test_inception_score_is_that_of_torchmetrics():
    from torchmetrics.image.inception import InceptionScore as Metric

    logits = 4 * normal(100, 10)
    metric = Metric(feature=torch.nn.Identity(), splits=1)
    metric.update(torch.from_numpy(logits))
    assert inception_score(logits) == pytest.approx(float(metric.compute()[0]), rel=1e-12)


def test_inception_score_counts_the_classes_of_sure_predictions():
    """Also where the probability of a class is 0 in every image."""
    assert inception_score(1e4 * np.eye(10)[[0, 1, 2, 3] * 5]) == pytest.approx(4, rel=1e-12)
    assert inception_score(np.ones((20, 10))) == pytest.approx(1, rel=1e-12)


# --------------------------------------------------------------------------- Frechet distance


def distance(generated, reference):
    return FrechetDistance().bind(features(reference))(features(generated))


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("n", "d"), [(100, 5), (500, 64), (40, 64), (64, 200)])
def test_frechet_distance_is_that_of_cleanfid(n, d):
    one, other = np.maximum(normal(n, d), 0), np.maximum(1.3 * normal(n + 9, d, seed=1) + 0.2, 0)
    moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in (one, other)]
    expected = frechet_distance(*moments[0], *moments[1])
    assert distance(one, other) == pytest.approx(expected, rel=1e-6)


def with_moments(mean, covariance, n=300):
    """Return points (n, d) whose sample mean and covariance are exactly as given."""
    points = normal(n, len(mean))
    points -= points.mean(axis=0)
    white = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_known_gaussians():
    """In closed form for covariances that commute: |m1 - m2|^2 + sum (s1 - s2)^2."""
    one = with_moments(np.array([1.0, 0, 0]), np.diag([1.0, 4.0, 9.0]))
    other = with_moments(np.array([0.0, 2, 0]), np.diag([16.0, 4.0, 1.0]))
    assert distance(one, other) == pytest.approx((1 + 4) + (9 + 0 + 4), rel=1e-9)
    assert distance(one, one) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_does_not_depend_on_what_was_measured_before():
    measure = FrechetDistance().bind(features(normal(90, 6, seed=5)))
    generated = features(normal(70, 6, seed=6))
    first = measure(generated)
    measure(features(1e3 * normal(30, 6, seed=7)))
    assert measure(generated) == first


# ----------------------------------------------------------------------------------- diversity


def test_diversity_is_the_entropy_of_the_groups():
    logits = normal(300, 7) + np.linspace(0, 1, 7)
    shares = np.bincount(logits.argmax(axis=1)) / 300
    measured = Diversity().bind(REFERENCE)(features(logits=logits))
    assert measured == pytest.approx(stats.entropy(shares, base=2), rel=1e-12)


@pytest.mark.parametrize(("groups", "bits"), [([3] * 9, 0), ([0, 4], 1), ([0, 1, 2, 7] * 3, 2)])
def test_diversity_of_even_groups(groups, bits):
    measured = Diversity().bind(REFERENCE)(features(logits=np.eye(8)[groups]))
    assert measured == pytest.approx(bits)
    assert math.copysign(1, measured) == 1


# ------------------------------------------------------------------------------- all properties


@pytest.mark.parametrize("prop", PROPERTIES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_gives_nan(prop, bad):
    generated = features()
    generated.embeddings[3, 1] = generated.logits[3, 1] = bad
    assert math.isnan(prop.bind(REFERENCE)(generated))


@pytest.mark.parametrize("prop", PROPERTIES)
def test_measures_are_pure(prop):
    """The same twice, after another global seed, and without drawing from the generator."""
    measure = prop.bind(REFERENCE)
    torch.manual_seed(1)
    first = measure(features())
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert measure(features()) == first
    assert prop.bind(REFERENCE)(features()) == first
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("prop", PROPERTIES)
def test_features_made_in_inference_mode_are_measured(prop):
    with torch.inference_mode():
        generated = Features(*(tensor * 1 for tensor in features()))
    assert prop.bind(REFERENCE)(generated) == prop.bind(REFERENCE)(features())


@pytest.mark.parametrize(
    ("prop", "higher"), [(InceptionScore, True), (FrechetDistance, False), (Diversity, True)]
)
def test_properties_say_which_way_is_better(prop, higher):
    assert prop.higher_is_better is higher
    assert prop.unit
