from http.client import IncompleteRead
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import Inception_V3_Weights, inception_v3

from crediting.errors import DataError
from crediting.extractors import InceptionV3
from crediting.models.checkpoint import save_weights

GREY = torch.arange(3 * 8 * 8).reshape(3, 1, 8, 8).to(torch.uint8)


@pytest.fixture(scope="module")
def published():
    """A network with random weights, as torchvision builds it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return inception_v3(weights=None, aux_logits=True, init_weights=False).eval()


@pytest.fixture(scope="module")
def weights(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(published.state_dict(), path)
    return str(path)


class Seen(nn.Module):
    """Stands in for the network and keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.shown = []

    def forward(self, images):
        self.shown.append(images)
        return self.avgpool(images).flatten(1)


def enlarged(image):
    """Return one channel (h, w) of 0..255 as 299 x 299 in [-1, 1], bilinear between centres."""
    rows, columns = (interpolation(size) for size in image.shape)
    return rows @ (image.astype(float) * 2 / 255 - 1) @ columns.T


def interpolation(size):
    weights = np.zeros((299, size))
    for target in range(299):
        source = np.clip((target + 0.5) * size / 299 - 0.5, 0, size - 1)
        left = min(int(source), size - 2)
        weights[target, left : left + 2] = [1 - (source - left), source - left]
    return weights


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 32, 20), (2, 3, 64, 64)])
def test_images_are_enlarged_and_scaled(shape):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    network = Seen()
    features = InceptionV3(None, batch_size=2).features(network, images)
    shown = torch.cat(network.shown)
    assert [len(batch) for batch in network.shown] == [2, 1][: len(network.shown)]
    assert shown.shape == (len(images), 3, 299, 299)
    for image, seen in zip(images.numpy(), shown.numpy(), strict=True):
        channels = image if len(image) == 3 else np.repeat(image, 3, axis=0)
        for channel, plane in zip(channels, seen, strict=True):
            np.testing.assert_allclose(plane, enlarged(channel), atol=2e-5)
    np.testing.assert_allclose(features.embeddings, shown.mean(dim=(2, 3)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_pooled_maps_and_logits(weights, published, channels):
    extractor = InceptionV3(weights, batch_size=2)
    images = GREY.expand(-1, channels, -1, -1)
    before = torch.random.get_rng_state()
    network = extractor.fit(images, None)
    assert torch.equal(torch.random.get_rng_state(), before)
    features = extractor.features(network, images)
    assert features.embeddings.shape == (3, 2048)
    assert features.logits.shape == (3, 1000)
    assert features.embeddings.dtype == features.logits.dtype == torch.float64
    assert not network.avgpool._forward_hooks
    planes = np.stack([np.repeat(enlarged(image)[None], 3, axis=0) for image in GREY[:, 0].numpy()])
    with torch.no_grad():
        logits = published(torch.from_numpy(planes).float())
        torch.testing.assert_close(features.logits.float(), logits, rtol=1e-3, atol=1e-4)
        from_embeddings = published.fc(features.embeddings.float())
        torch.testing.assert_close(features.logits.float(), from_embeddings, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_stored_network_says_the_same(weights, tmp_path):
    extractor = InceptionV3(weights, batch_size=2)
    network = extractor.fit(GREY, None)
    save_weights(tmp_path / "network.safetensors", network.state_dict())
    loaded = extractor.load(tmp_path)
    assert not loaded.training
    for ours, theirs in zip(
        extractor.features(network, GREY[:1]), extractor.features(loaded, GREY[:1]), strict=True
    ):
        assert torch.equal(ours, theirs)


# ------------------------------------------------------------------------ where weights come from


def test_without_a_file_torchvisions_own_is_fetched_and_checked(monkeypatch, published):
    asked = []

    def fetch(url, **options):
        asked.append((url, options["check_hash"], options["weights_only"]))
        return published.state_dict()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    network = InceptionV3(None, batch_size=2).fit(GREY, None)
    assert asked == [(Inception_V3_Weights.IMAGENET1K_V1.url, True, True)]
    assert torch.equal(network.fc.weight, published.fc.weight)


@pytest.mark.parametrize(
    "failure",
    [
        URLError("no route to host"),
        ConnectionResetError("reset"),
        IncompleteRead(b""),
        RuntimeError('invalid hash value (expected "0cc3c7bd", got "1")'),
    ],
)
def test_weights_out_of_reach_are_explained(monkeypatch, failure):
    def fetch(url, **options):
        raise failure

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    with pytest.raises(DataError, match=r"could not be fetched.*extractor\.weights=<file>"):
        InceptionV3(None, batch_size=2).fit(GREY, None)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.pth.*extractor\.weights="):
        InceptionV3(str(tmp_path / "nowhere.pth"), batch_size=2).fit(GREY, None)


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_weights_is_named(tmp_path, content):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.pth is no complete file of weights"):
        InceptionV3(str(path), batch_size=2).fit(GREY, None)


@pytest.mark.parametrize("other", [{"weight": torch.ones(2)}, torch.ones(3)])
def test_weights_of_another_network_are_refused(tmp_path, other):
    path = tmp_path / "other.pth"
    torch.save(other, path)
    with pytest.raises(DataError, match=r"other\.pth does not hold the weights of torchvision"):
        InceptionV3(str(path), batch_size=2).fit(GREY, None)
