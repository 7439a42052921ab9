import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import Inception_V3_Weights, inception_v3

from crediting.errors import ConfigError, DataError
from crediting.extractors import InceptionV3

GREY = torch.arange(3 * 8 * 8).reshape(3, 1, 8, 8).to(torch.uint8)


@pytest.fixture(scope="module")
def published():
    """A network with random weights that are large enough to tell images apart."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = inception_v3(weights=None, aux_logits=True, init_weights=False).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        return network


@pytest.fixture(scope="module")
def weights(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(published.state_dict(), path)
    return str(path)


def test_a_file_without_the_numbers_of_batches_is_the_same_network(published, weights, tmp_path):
    """The published one was written before normalisations counted them."""
    older = {k: v for k, v in published.state_dict().items() if "num_batches" not in k}
    assert len(older) < len(published.state_dict())
    torch.save(older, tmp_path / "older.pth")
    one, other = (
        InceptionV3(path, batch_size=2).load(tmp_path).state_dict()
        for path in (weights, str(tmp_path / "older.pth"))
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in older)


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
def test_features_are_pooled_maps_and_logits(weights, published, tmp_path, channels):
    extractor = InceptionV3(weights, batch_size=2)
    images = GREY.expand(-1, channels, -1, -1)
    before = torch.random.get_rng_state()
    network = extractor.load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    features = extractor.features(network, images)
    assert features.embeddings.shape == (3, 2048)
    assert features.logits.shape == (3, 1000)
    assert features.embeddings.dtype == features.logits.dtype == torch.float64
    assert not network.avgpool._forward_hooks
    planes = np.stack([np.repeat(enlarged(image)[None], 3, axis=0) for image in GREY[:, 0].numpy()])
    with torch.no_grad():
        logits = published(torch.from_numpy(planes).float())
        assert logits.std(dim=0).mean() > 0.01 * logits.std()
        torch.testing.assert_close(features.logits.float(), logits, rtol=1e-3, atol=1e-4)
        from_embeddings = published.fc(features.embeddings.float())
        torch.testing.assert_close(features.logits.float(), from_embeddings, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------ where weights come from


def test_the_network_is_loaded_for_use_and_fitting_writes_nothing(weights, published, tmp_path):
    extractor = InceptionV3(weights, batch_size=2)
    extractor.fit(GREY, None, tmp_path)
    assert not list(tmp_path.iterdir())
    network = extractor.load(tmp_path)
    assert not network.training
    expected = published.state_dict()
    assert network.state_dict().keys() == expected.keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_the_published_file_is_torchvisions():
    asset = InceptionV3(None, batch_size=2).assets()["weights"]
    assert asset.source == Inception_V3_Weights.IMAGENET1K_V1.url
    assert asset.sha256
    assert asset.sha256 in asset.source
    megabytes = Inception_V3_Weights.IMAGENET1K_V1.meta["_file_size"]
    assert asset.size == pytest.approx(megabytes * 2**20, abs=2**11)


def test_weights_of_a_larger_network_are_refused(published, tmp_path):
    torch.save({**published.state_dict(), "more": torch.ones(2)}, tmp_path / "larger.pth")
    with pytest.raises(DataError, match=r"larger\.pth holds .* first is more: expected shape None"):
        InceptionV3(str(tmp_path / "larger.pth"), batch_size=2).load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^extractor\.inception_v3\.weights: .*nowhere\.pth"):
        InceptionV3(str(tmp_path / "nowhere.pth"), batch_size=2).load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_weights_is_named(tmp_path, content):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.pth is no complete file of weights"):
        InceptionV3(str(path), batch_size=2).load(tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"weight": torch.ones(2)}, r"other\.pth holds the weights of another network"),
        (torch.ones(3), r"other\.pth to hold tensors by name, and nothing else, got a Tensor"),
        ({"epoch": 3}, r"other\.pth to hold tensors by name, and nothing else, got a dict"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, other, message):
    path = tmp_path / "other.pth"
    torch.save(other, path)
    with pytest.raises(DataError, match=message):
        InceptionV3(str(path), batch_size=2).load(tmp_path)


def test_batches_hold_something():
    with pytest.raises(ConfigError, match="batch_size: expected 1 or more, got 0"):
        InceptionV3(None, 0)
