import math

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance, kernel_distance
from scipy import stats
from scipy.special import log_softmax, softmax

from crediting.errors import ConfigError
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

IGNORING_THE_REFERENCE = [
    InceptionScore(None),
    Diversity(None),
    MeanScore(None),
    QuantileScore(None, 0.9),
]
PROPERTIES = [
    *IGNORING_THE_REFERENCE,
    FrechetDistance(None),
    KernelDistance(None, None, 1, 0),
    KernelDistance(None, 20, 3, 0),
    Precision(None, 3),
    Recall(None, 3),
    ClusterDiversity(None, 4),
]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def features(embeddings=None, logits=None, scores=None):
    given = (
        (embeddings, normal(50, 6)),
        (logits, normal(50, 4)),
        (scores, normal(50)),
    )
    chosen = [default if values is None else values for values, default in given]
    return Features(*(torch.as_tensor(values).double() for values in chosen))


REFERENCE = features(normal(80, 6, seed=1), normal(80, 4, seed=2), normal(80, seed=3))


# ---------------------------------------------------------------------------- inception score


def inception_score(logits):
    return InceptionScore(None).bind(REFERENCE)(features(logits=logits))


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
    return FrechetDistance(None).bind(features(reference))(features(generated))


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
    measure = FrechetDistance(None).bind(features(normal(90, 6, seed=5)))
    generated = features(normal(70, 6, seed=6))
    first = measure(generated)
    measure(features(1e3 * normal(30, 6, seed=7)))
    assert measure(generated) == first


# ----------------------------------------------------------------------------------- diversity


def test_diversity_is_the_entropy_of_the_groups():
    logits = normal(300, 7) + np.linspace(0, 1, 7)
    shares = np.bincount(logits.argmax(axis=1)) / 300
    measured = Diversity(None).bind(REFERENCE)(features(logits=logits))
    assert measured == pytest.approx(stats.entropy(shares, base=2), rel=1e-12)


@pytest.mark.parametrize(("groups", "bits"), [([3] * 9, 0), ([0, 4], 1), ([0, 1, 2, 7] * 3, 2)])
def test_diversity_of_even_groups(groups, bits):
    measured = Diversity(None).bind(REFERENCE)(features(logits=np.eye(8)[groups]))
    assert measured == pytest.approx(bits)
    assert math.copysign(1, measured) == 1


# ----------------------------------------------------------------------------- kernel distance


def kernel_mmd(generated, reference, **settings):
    settings = {"subset_size": None, "subsets": 1, "seed": 0, **settings}
    return KernelDistance(None, **settings).bind(features(reference))(features(generated))


def explicit_mmd(x, y):
    """Return the unbiased estimate by definition, over pairs of different points."""
    kernel = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    within = [
        np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])
        for z in (x, y)
    ]
    return sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_kernel_distance_is_the_unbiased_estimate():
    x, y = normal(13, 5), 1.3 * normal(9, 5, seed=1) + 0.2
    assert kernel_mmd(x, y) == pytest.approx(explicit_mmd(x, y), rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(60, 4), (1100, 16)])
def test_kernel_distance_is_that_of_cleanfid(n, d):
    """Which draws subsets at random: here of all images, so that chance plays no part."""
    x, y = normal(n, d), 1.2 * normal(n, d, seed=1) + 0.3
    expected = kernel_distance(x, y, num_subsets=1, max_subset_size=n)
    assert kernel_mmd(x, y) == pytest.approx(expected, rel=1e-9)
    assert kernel_mmd(x, y, subset_size=n, subsets=2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kernel_distance_over_subsets_is_near_that_of_torchmetrics():
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = normal(300, 8), 1.2 * normal(200, 8, seed=1) + 0.5
    identity = torch.nn.Identity()
    identity.num_features = 8
    metric = KernelInceptionDistance(feature=identity, subsets=200, subset_size=50)
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(y), real=True)
    metric.update(torch.from_numpy(x), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        expected, deviation = metric.compute()
    error = 4 * float(deviation) * math.sqrt(2 / 200)
    found = kernel_mmd(x, y, subset_size=50, subsets=200)
    assert found == pytest.approx(float(expected), abs=error)
    assert error < 0.3 * abs(found)


def test_kernel_distance_over_subsets_is_a_function_of_the_seed():
    x, y = normal(100, 5), normal(90, 5, seed=1)
    drawn = [kernel_mmd(x, y, subset_size=30, subsets=4, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("generated", "reference"), [(9, 50), (50, 9)])
def test_kernel_distance_needs_enough_images_on_both_sides(generated, reference):
    with pytest.raises(ConfigError, match=r"^subset_size: expected 10 .*, got 9"):
        kernel_mmd(normal(generated, 3), normal(reference, 3), subset_size=10)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"subset_size": 1}, "^subset_size: expected 2 or"), ({"subsets": 0}, "^subsets: expected 1")],
)
def test_kernel_distance_needs_subsets_of_some_size(setting, message):
    with pytest.raises(ConfigError, match=message):
        KernelDistance(None, **{"subset_size": 9, "subsets": 1, "seed": 0, **setting})


# ------------------------------------------------------------------------- precision and recall


def share_inside(points, centres, k):
    """Return the share of points in a ball around any centre, point by point."""
    inside = 0
    for point in points:
        for i, centre in enumerate(centres):
            others = np.delete(centres, i, axis=0)
            radius = sorted(np.linalg.norm(others - centre, axis=1))[k - 1]
            if np.linalg.norm(point - centre) <= radius:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize(("n", "m", "d", "k"), [(40, 60, 3, 3), (60, 30, 8, 1), (25, 25, 4, 5)])
def test_precision_and_recall_are_shares_inside_the_balls(n, m, d, k):
    generated, reference = normal(n, d) + 0.7, 1.3 * normal(m, d, seed=1)
    precision = Precision(None, k).bind(features(reference))(features(generated))
    recall = Recall(None, k).bind(features(reference))(features(generated))
    assert precision == pytest.approx(share_inside(generated, reference, k))
    assert recall == pytest.approx(share_inside(reference, generated, k))
    assert 0 < precision < 1
    assert 0 < recall < 1


def test_precision_and_recall_do_not_depend_on_chunks(monkeypatch):
    generated, reference = normal(70, 3) + 0.7, normal(90, 3, seed=1)
    measures = [kind(None, 3).bind(features(reference)) for kind in (Precision, Recall)]
    whole = [measure(features(generated)) for measure in measures]
    monkeypatch.setattr("crediting.properties.manifolds._ROWS", 11)
    measures = [kind(None, 3).bind(features(reference)) for kind in (Precision, Recall)]
    assert [measure(features(generated)) for measure in measures] == whole


def test_images_of_one_mode_are_precise_and_cover_little():
    modes = np.repeat(np.eye(4) * 50, 25, axis=0)
    reference, generated = modes + normal(100, 4), modes[:25] + normal(25, 4, seed=1) / 2
    assert Precision(None, 3).bind(features(reference))(features(generated)) == 1
    assert Recall(None, 3).bind(features(reference))(features(generated)) <= 0.25


@pytest.mark.parametrize(("kind", "few"), [(Precision, "reference"), (Recall, "generated")])
def test_every_image_needs_so_many_neighbours(kind, few):
    sizes = {"reference": 10, "generated": 10, few: 3}
    with pytest.raises(ConfigError, match=r"^neighbours: .* 3 images .*got 3"):
        kind(None, 3).bind(features(normal(sizes["reference"], 2)))(
            features(normal(sizes["generated"], 2))
        )
    with pytest.raises(ConfigError, match=r"^neighbours: expected 1 or more, got 0"):
        kind(None, 0)


# -------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("quantile", [0, 0.25, 0.5, 0.9, 1])
@pytest.mark.parametrize("n", [1, 10, 57])
def test_quantiles_are_those_of_numpy(n, quantile):
    scores = normal(n)
    measured = QuantileScore(None, quantile).bind(Features())(features(scores=scores))
    assert measured == pytest.approx(np.quantile(scores, quantile), rel=1e-12)


def test_the_mean_score_is_the_mean():
    assert MeanScore(None).bind(Features())(features(scores=[1, 2, 6])) == 3


@pytest.mark.parametrize("quantile", [-0.1, 1.1, 90])
def test_a_quantile_is_a_share(quantile):
    with pytest.raises(ConfigError, match=r"^quantile: expected a number from 0 to 1, got"):
        QuantileScore(None, quantile)


# --------------------------------------------------------------------------- cluster diversity


def cluster_diversity(generated, reference, clusters):
    return ClusterDiversity(None, clusters).bind(features(reference))(features(generated))


def directions(groups, d=12, spread=0.05, seed=0):
    """Return points near one axis per group, as embeddings of distinct kinds of images are."""
    return 3 * np.eye(d)[groups] + spread * normal(len(groups), d, seed=seed)


@pytest.mark.parametrize(
    ("groups", "bits"),
    [([2] * 9, 0), ([0, 3], 1), ([0, 1, 2, 3] * 5, 2), ([0, 0, 1, 2], 1.5)],
)
def test_cluster_diversity_of_planted_clusters_is_the_entropy_of_their_shares(groups, bits):
    reference = directions(np.repeat([0, 1, 2, 3], [10, 20, 5, 15]))
    measured = cluster_diversity(directions(groups, seed=1), reference, 4)
    assert measured == pytest.approx(bits)
    assert math.copysign(1, measured) == 1


@pytest.mark.parametrize(("n", "clusters"), [(150, 20), (60, 5)])
def test_cluster_diversity_is_that_of_its_definition(n, clusters):
    """Every distance written out, and the mean of them for every cluster and image."""
    from scipy.cluster.hierarchy import fcluster, linkage

    reference, generated = normal(n, 6, seed=1) + 0.5, normal(80, 6) + 0.3
    largest = max(a @ b for a in reference for b in reference)
    pairs = [largest - reference[i] @ reference[j] for i in range(n) for j in range(i + 1, n)]
    labels = fcluster(linkage(pairs, method="ward"), clusters, criterion="maxclust")
    distances = largest - generated @ reference.T
    means = [distances[:, labels == c].mean(axis=1) for c in range(1, clusters + 1)]
    shares = np.bincount(np.argmin(means, axis=0)) / 80
    expected = stats.entropy(shares, base=2)
    assert cluster_diversity(generated, reference, clusters) == pytest.approx(expected, rel=1e-12)
    assert expected > 1


@pytest.mark.parametrize("reference", [normal(3, 5), np.repeat(normal(3, 5), 10, axis=0)])
def test_reference_images_must_fall_into_so_many_clusters(reference):
    with pytest.raises(ConfigError, match=r"^clusters: .*got 20; lower it"):
        ClusterDiversity(None, 20).bind(features(reference))


def test_one_cluster_is_no_diversity():
    with pytest.raises(ConfigError, match=r"^clusters: expected 2 or more, got 1"):
        ClusterDiversity(None, 1)


# ------------------------------------------------------------------------------- all properties


@pytest.mark.parametrize("prop", PROPERTIES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_gives_nan(prop, bad):
    generated = features()
    generated.embeddings[3, 1] = generated.logits[3, 1] = generated.scores[3] = bad
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


@pytest.mark.parametrize("prop", PROPERTIES)
def test_only_the_field_that_is_needed_is_read(prop):
    """Of the generated images, and of the reference images none at all where they do not count."""
    alone = Features(**{prop.needs: getattr(features(), prop.needs)})
    counts = prop not in IGNORING_THE_REFERENCE
    reference = Features(**{prop.needs: getattr(REFERENCE, prop.needs)}) if counts else Features()
    assert prop.bind(reference)(alone) == prop.bind(REFERENCE)(features())


def test_a_field_that_nobody_gives_is_a_bug_with_a_name():
    with pytest.raises(AssertionError, match="no logits"):
        InceptionScore(None).bind(Features())(Features())


@pytest.mark.parametrize("prop", PROPERTIES)
def test_properties_are_picklable_and_equal_when_their_settings_are(prop):
    import pickle

    assert pickle.loads(pickle.dumps(prop)) == prop


@pytest.mark.parametrize(
    ("prop", "higher"),
    [
        (InceptionScore, True),
        (FrechetDistance, False),
        (Diversity, True),
        (KernelDistance, False),
        (Precision, True),
        (Recall, True),
        (MeanScore, True),
        (QuantileScore, True),
        (ClusterDiversity, True),
    ],
)
def test_properties_say_which_way_is_better(prop, higher):
    assert prop.higher_is_better is higher
    assert prop.unit
    assert prop.needs in Features._fields


def test_kernel_distance_over_subsets_is_on_average_that_of_all_images():
    """An unbiased estimate of any subset is that of all images in expectation (U-statistics)."""
    reference, generated = features(normal(15, 3, seed=5) ** 3), features(normal(14, 3) ** 3)
    exact = KernelDistance(None, None, 1, 0).bind(reference)(generated)
    by_seed = [KernelDistance(None, 3, 500, s).bind(reference)(generated) for s in range(4)]
    alone = [KernelDistance(None, 3, 1, s).bind(reference)(generated) for s in range(200)]
    error = np.std(alone) / np.sqrt(500 * 4)
    assert abs(np.mean(by_seed) - exact) < 4 * error
    assert np.std(by_seed) < 0.2 * np.std(alone)  # 1 / sqrt(500) of it, but for luck


def test_a_single_image_has_no_kernel_distance():
    one, two = features(normal(1, 6)), features(normal(2, 6))
    measure = KernelDistance(None, None, 1, 0).bind(two)
    assert math.isfinite(measure(two))
    with pytest.raises(ConfigError, match="expected 2 generated images"):
        measure(one)
    with pytest.raises(ConfigError, match="expected 2 reference images"):
        KernelDistance(None, None, 1, 0).bind(one)


def test_a_ball_holds_what_lies_on_its_edge():
    """Whole numbers on a line, k = 1: balls of radius 1 around 0, 1, 2 end at -1 and 3."""
    line = features(torch.tensor([[0.0], [1.0], [2.0]]))
    generated = features(torch.tensor([[-2.0], [-1.0], [3.0], [4.0]]))
    assert Precision(None, 1).bind(line)(generated) == 0.5
    assert Recall(None, 1).bind(line)(generated) == pytest.approx(2 / 3)  # 1 is out of reach


def test_as_many_clusters_as_reference_images():
    reference = features(3 * torch.eye(4, dtype=torch.float64)[:3])
    generated = features(torch.eye(4, dtype=torch.float64)[[0, 1, 2, 0, 1, 2]])
    assert ClusterDiversity(None, 3).bind(reference)(generated) == pytest.approx(math.log2(3))
