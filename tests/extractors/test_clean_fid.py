import hashlib

import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from PIL import Image
from tiny_hub import pictures
from torch import nn

from crediting.errors import ConfigError, DataError
from crediting.extractors import CleanFidInception, clean_fid
from crediting.extractors.resizing import resized

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.(script|save|load)` is:FutureWarning")


class StandIn(nn.Module):
    """Has the interface of the published network: `layers`, from 299 x 299 to 2048 numbers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(23), nn.Conv2d(3, 2048, 13), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, images):
        return self.layers(images)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "inception-2015-12-05.pt"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        torch.jit.script(StandIn()).save(path)
    return path


PUBLISHED = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


def stand_in(path, batch_size=2):
    return CleanFidInception(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), batch_size)


def features(path, images, batch_size=2):
    extractor = stand_in(path, batch_size)
    return extractor.features(extractor.load(path.parent), images)


@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (3, 3, 400, 310), (3, 3, 299, 299)])
def test_features_are_those_of_clean_fid(path, shape):
    images = pictures(*shape)
    resize = make_resizer("PIL", False, "bicubic", (299, 299))
    resized = np.stack([resize(image.transpose(1, 2, 0)) for image in images.numpy()])
    with torch.no_grad():
        network = InceptionV3W(str(path.parent), download=False)
        expected = network(torch.from_numpy(resized.transpose(0, 3, 1, 2)))
    found = features(path, images)
    assert found.embeddings.shape == (3, 2048)
    assert found.embeddings.dtype == torch.float64
    assert found.logits is found.scores is None
    torch.testing.assert_close(found.embeddings.float(), expected, rtol=1e-5, atol=1e-6)
    assert found.embeddings.std(dim=0).max() > 1e-3


@pytest.mark.parametrize("shape", [(32, 48), (8, 8), (299, 299), (400, 310), (700, 33), (1, 2)])
def test_resizing_is_that_of_pil_without_rounding(shape):
    images = pictures(2, 1, *shape)
    found = resized(images, 299, 299)
    assert found.shape == (2, 1, 299, 299)
    for image, plane in zip(images, found, strict=True):
        expected = Image.fromarray(image[0].numpy().astype(np.float32), mode=None).resize(
            (299, 299), Image.Resampling.BICUBIC
        )
        # where the height shrinks, newer versions of PIL begin with it, and round in between
        steps = 2 if shape[0] > 299 else 0
        np.testing.assert_array_max_ulp(plane[0].numpy(), np.asarray(expected).clip(0, 255), steps)


def test_what_overshoots_at_edges_is_cut_off_as_in_clean_fid():
    image = 255 * np.random.default_rng(0).integers(0, 2, (24, 16, 3), dtype=np.uint8)
    expected = make_resizer("PIL", False, "bicubic", (299, 299))(image)
    found = resized(torch.from_numpy(image).permute(2, 0, 1)[None], 299, 299)[0]
    np.testing.assert_array_max_ulp(found.permute(1, 2, 0).numpy(), expected, 0)
    assert min((expected == bound).mean() for bound in (0, 255)) > 0.1


def test_grey_images_are_seen_as_colour_ones(path):
    grey = pictures(2, 1, 32, 32)
    colour = features(path, grey.expand(-1, 3, -1, -1)).embeddings
    assert torch.equal(features(path, grey).embeddings, colour)


def test_what_came_before_does_not_matter(path):
    extractor = stand_in(path)
    network = extractor.load(path.parent)
    images = pictures(2, 3, 32, 32)
    first = extractor.features(network, images).embeddings
    for _ in range(3):
        assert torch.equal(extractor.features(network, images).embeddings, first)


def test_the_network_is_on_the_cpu_in_evaluation_mode(path):
    network = stand_in(path).load(path.parent)
    assert not network.training
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_code_from_any_other_file_is_not_run(path, monkeypatch):
    def load(*args, **options):
        raise AssertionError("loaded")

    monkeypatch.setattr(torch.jit, "load", load)
    with pytest.raises(DataError, match=r"^extractor\.clean_fid\.weights: .*expected sha256 f58c"):
        CleanFidInception(str(path), PUBLISHED, 2).load(path.parent)


def test_any_file_is_run_by_who_trusts_it(path):
    network = CleanFidInception(str(path), None, 2).load(path.parent)
    assert isinstance(network, clean_fid._Inception)


@pytest.mark.parametrize("content", [b"", b"<html>", b"cut"])
def test_a_file_that_cannot_be_read_is_named(content, path, tmp_path):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(path.read_bytes()[:3000] if content == b"cut" else content)
    with pytest.raises(DataError, match=r"^extractor\.clean_fid\.weights: .*broken\.pt is no "):
        CleanFidInception(str(broken), None, 2).load(tmp_path)


def test_another_network_is_named(tmp_path):
    torch.jit.script(nn.Identity()).save(tmp_path / "other.pt")
    with pytest.raises(DataError, match=r"other\.pt holds another network: .*`layers`"):
        CleanFidInception(str(tmp_path / "other.pt"), None, 2).load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^extractor\.clean_fid\.weights: .*nowhere\.pt"):
        CleanFidInception(str(tmp_path / "nowhere.pt"), PUBLISHED, 2).load(tmp_path)


def test_batches_hold_something():
    with pytest.raises(ConfigError, match="batch_size: expected 1 or more, got 0"):
        CleanFidInception(None, PUBLISHED, 0)
