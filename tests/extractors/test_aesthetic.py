import pytest
import torch
from tiny_hub import pictures, save_clip

from crediting.errors import ConfigError, DataError
from crediting.extractors import Aesthetic, Clip

HEAD = {"weight": torch.tensor([[1.0, -2, 3, -4, 5, -6, 7, -8]]), "bias": torch.tensor([4.5])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    torch.save(HEAD, folder / "head.pth")
    return folder


def aesthetic(folder, head="head.pth"):
    return Aesthetic(str(folder), str(folder / head), batch_size=2)


def test_scores_are_linear_in_the_embeddings_of_clip(folder):
    images = pictures(5, 3, 40, 30)
    extractor = aesthetic(folder)
    found = extractor.features(extractor.load(folder), images)
    clip = Clip(str(folder), None, batch_size=2)
    embeddings = clip.features(clip.load(folder), images).embeddings
    assert torch.equal(found.embeddings, embeddings)
    expected = embeddings @ HEAD["weight"][0].double() + 4.5
    assert found.scores.dtype == torch.float64
    assert found.scores.shape == (5,)
    torch.testing.assert_close(found.scores, expected, rtol=1e-12, atol=1e-12)
    assert found.scores.std() > 0.01


def test_the_published_files_are_those_of_the_large_clip():
    assets = Aesthetic("openai/clip-vit-large-patch14", None, 2).assets()
    assert list(assets) == ["weights", "head"]
    assert assets["weights"].size > 1.7e9
    assert assets["head"].source.endswith("/sa_0_4_vit_l_14_linear.pth")


def test_a_head_of_another_clip_is_refused(folder):
    torch.save({"weight": torch.ones(1, 9), "bias": torch.ones(1)}, folder / "other.pth")
    with pytest.raises(
        DataError, match=r"^extractor\.aesthetic\.head: .*expected shape \(1, 8\), got \(1, 9\)"
    ):
        aesthetic(folder, "other.pth").load(folder)


def test_a_head_that_holds_more_than_tensors_is_not_unpickled(folder):
    torch.save(torch.nn.Linear(8, 1), folder / "module.pth")
    with pytest.raises(DataError, match=r"^extractor\.aesthetic\.head: .*no complete file of weig"):
        aesthetic(folder, "module.pth").load(folder)


@pytest.mark.parametrize("stored", [torch.ones(3), [1, 2]])
def test_a_head_without_names_is_refused(folder, stored):
    torch.save(stored, folder / "nameless.pth")
    with pytest.raises(DataError, match=r"tensors by name, and nothing else, got a (Tensor|list)"):
        aesthetic(folder, "nameless.pth").load(folder)


def test_a_missing_head_is_named(folder):
    with pytest.raises(DataError, match=r"^extractor\.aesthetic\.head: .*nowhere\.pth"):
        aesthetic(folder, "nowhere.pth").load(folder)


def test_a_missing_clip_is_named(folder, tmp_path):
    extractor = Aesthetic(str(tmp_path / "nowhere"), str(folder / "head.pth"), 2)
    with pytest.raises(DataError, match=r"^extractor\.aesthetic\.weights: .*nowhere"):
        extractor.load(folder)


def test_batches_hold_something():
    with pytest.raises(ConfigError, match="batch_size: expected 1 or more, got 0"):
        Aesthetic("openai/clip-vit-large-patch14", None, 0)
