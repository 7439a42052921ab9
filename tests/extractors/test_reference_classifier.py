import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crediting.datasets import Digits
from crediting.errors import ArtifactError, ConfigError, DataError
from crediting.extractors import ReferenceClassifier
from crediting.randomness import Stream

SETTINGS = {
    "channels": 32,
    "embedding": 64,
    "steps": 600,
    "batch_size": 64,
    "learning_rate": 4e-3,
    "shift": 1.0,
    "rotate": 10,
    "scale": 0.15,
    "seed": 0,
}
DIGITS = Digits(1297)


def classifier(**settings):
    return ReferenceClassifier(**{**SETTINGS, **settings})


def quick(**settings):
    return classifier(**{"channels": 4, "embedding": 8, "steps": 10, **settings})


def fit(extractor, images=None, labels=None):
    """Return the network that is loaded after fitting, on the reference images by default."""
    images = DIGITS.reference_images() if images is None else images
    labels = DIGITS.reference_labels() if labels is None else labels
    with TemporaryDirectory() as folder:
        extractor.fit(images, labels, Path(folder))
        return extractor.load(Path(folder))


def equal(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def accuracy(extractor, network, images, labels):
    predicted = extractor.features(network, images).logits.argmax(dim=1)
    return (predicted.numpy() == labels).mean()


@pytest.mark.slow
def test_digits_of_other_writers_are_recognised():
    extractor = classifier()
    network = fit(extractor)
    labels = np.array([int(name[-1]) for name in DIGITS.columns()["label"]])
    reference = DIGITS.reference_images(), DIGITS.reference_labels()
    assert accuracy(extractor, network, *reference) > 0.98
    assert accuracy(extractor, network, DIGITS.training_images(), labels) > 0.915


def test_fitting_is_a_function_of_the_seed():
    before = torch.random.get_rng_state()
    one, again, other = fit(quick()), fit(quick()), fit(quick(seed=1))
    assert equal(one, again)
    assert not equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_step_learns_from_other_images_at_a_rate_that_falls_to_zero(monkeypatch):
    rates, chosen, losses = [], [], []
    step, choose, loss = torch.optim.Adam.step, Stream.choose, F.cross_entropy

    def noted_step(optimizer, *args):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args)

    def noted_choice(stream, ids, count):
        chosen.append(choose(stream, ids, count))
        return chosen[-1]

    def noted_loss(logits, targets):
        losses.append(float(loss(logits, targets).detach()))
        return loss(logits, targets)

    monkeypatch.setattr(torch.optim.Adam, "step", noted_step)
    monkeypatch.setattr(Stream, "choose", noted_choice)
    monkeypatch.setattr(F, "cross_entropy", noted_loss)
    fit(quick(steps=40, learning_rate=0.02, batch_size=30))
    assert rates == pytest.approx(0.02 * (1 - np.arange(40) / 40))
    assert {len(ids) for ids in chosen} == {30}
    assert len(torch.cat(chosen).unique()) > 400  # of 500
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_loaded_is_ready_for_use_and_always_says_the_same(tmp_path, channels):
    extractor = quick()
    images = DIGITS.reference_images().expand(-1, channels, -1, -1)
    extractor.fit(images, DIGITS.reference_labels(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["network.safetensors"]
    one, other = (extractor.load(tmp_path) for _ in range(2))
    assert not one.training
    said, again = (extractor.features(network, images) for network in (one, other))
    assert torch.equal(said.embeddings, again.embeddings)
    assert torch.equal(said.logits, again.logits)
    assert said.scores is None


@pytest.mark.parametrize("content", [None, b"", b"half a file"])
def test_a_lost_or_damaged_network_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "network.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"network\.safetensors: expected .*Delete the folder"):
        quick().load(tmp_path)


def test_features_are_the_last_hidden_layer_and_the_logits():
    extractor = quick(batch_size=64)
    network = fit(extractor)
    images = DIGITS.training_images()[:100]
    features = extractor.features(network, images)
    assert features.embeddings.shape == (100, 8)
    assert features.logits.shape == (100, 10)
    assert features.embeddings.dtype == features.logits.dtype == torch.float64
    logits = F.linear(
        features.embeddings.float(), network.classes.weight, network.classes.bias
    ).detach()
    torch.testing.assert_close(logits, features.logits.float())
    batched = quick(batch_size=7).features(network, images)
    torch.testing.assert_close(batched.logits, features.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (9, 13), (32, 32)])
def test_images_of_any_size_fit(size):
    extractor = quick(steps=2)
    images = torch.arange(6 * 3 * size[0] * size[1]).view(6, 3, *size).to(torch.uint8)
    network = fit(extractor, images, np.arange(6) % 2)
    assert extractor.features(network, images).logits.shape == (6, 2)


def jittered(images, **settings):
    settings = {"shift": 0.0, "rotate": 0.0, "scale": 0.0, **settings}
    ids = torch.arange(len(images))
    return quick(**settings)._jittered(images, Stream("jitter"), ids)


def test_without_jitter_images_stay():
    images = torch.rand(5, 2, 8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(jittered(images), images)


def test_images_are_shifted_by_up_to_so_many_pixels():
    ramp = torch.arange(12.0).expand(200, 1, 12, 12)  # a pixel's value is its column
    moved = (jittered(ramp, shift=2.0) - ramp)[..., 3:-3]
    torch.testing.assert_close(moved, moved[..., :1].expand_as(moved))  # moved, not bent
    amounts = moved[:, 0, 0, 0]
    assert 1.8 < amounts.max() <= 2
    assert -2 <= amounts.min() < -1.8


def test_images_are_shifted_each_way_for_itself():
    column, row = torch.arange(24.0).expand(12, 24), torch.arange(12.0)[:, None].expand(12, 24)
    both = torch.stack([column, row]).expand(200, 2, 12, 24)
    right, down = (jittered(both, shift=2.0) - both)[:, :, 6, 12].T
    assert min(right.abs().max(), down.abs().max()) > 1.8
    assert max(right.abs().max(), down.abs().max()) <= 2 + 1e-5
    assert abs(np.corrcoef(right, down)[0, 1]) < 4 / math.sqrt(200)


@pytest.mark.parametrize("height", [12, 24])
def test_images_are_rotated_about_their_centre(height):
    ramp = torch.arange(-5.5, 6).expand(200, 1, height, 12)
    turned = jittered(ramp, rotate=10.0)[..., height // 2 - 2 : height // 2 + 2, 4:-4]
    down = turned[:, 0, 1, 0] - turned[:, 0, 0, 0]
    across = turned[:, 0, 0, 1] - turned[:, 0, 0, 0]
    torch.testing.assert_close(down**2 + across**2, torch.ones(200))
    degrees = torch.atan2(down, across).rad2deg()
    assert 9 < degrees.abs().max() <= 10
    torch.testing.assert_close(turned.mean(dim=(1, 2, 3)), torch.zeros(200), atol=1e-5, rtol=0)


def test_images_are_scaled_about_their_centre():
    ramp = torch.arange(-5.5, 6).expand(200, 1, 12, 12)
    scaled = jittered(ramp, scale=0.15)[..., 3:-3, 3:-3]
    steps = scaled[:, 0, 0, 1] - scaled[:, 0, 0, 0]
    assert 1.13 < steps.max() <= 1.15 + 1e-5
    assert 0.85 - 1e-5 <= steps.min() < 0.87


def test_labels_are_needed(tmp_path):
    with pytest.raises(DataError, match=r"Choose extractor=\[inception_v3\]") as refused:
        quick().fit(DIGITS.reference_images(), None, tmp_path)
    assert "the column label of its manifest" in str(refused.value)


@pytest.mark.parametrize("key", ["channels", "embedding", "steps", "batch_size"])
def test_numbers_below_one_are_refused_by_name(key):
    with pytest.raises(ConfigError, match=rf"^{key}: expected 1 or more, got 0"):
        classifier(**{key: 0})


@pytest.mark.parametrize("rate", [-1.0, 0.0, math.inf, math.nan])
def test_a_rate_that_nothing_is_learnt_at_is_refused_before_the_optimizer_sees_it(rate):
    with pytest.raises(
        ConfigError, match=rf"^learning_rate: expected a positive number, got {rate}"
    ):
        quick(learning_rate=rate)
