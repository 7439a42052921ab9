import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_hub import BLIP_SIDE, pictures, save_blip, save_clip
from transformers import BlipForQuestionAnswering, BlipImageProcessor

from crediting.errors import ConfigError, DataError
from crediting.extractors import BlipVqa
from crediting.extractors.vision import Preprocessing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blip")
    save_blip(folder)
    return folder


def features(folder, images, batch_size=2):
    extractor = BlipVqa(str(folder), batch_size)
    return extractor.features(extractor.load(folder), images)


def test_embeddings_are_the_pooled_output_of_the_model_that_answers_questions(folder):
    images = pictures(5, 3, BLIP_SIDE, BLIP_SIDE)
    model = BlipForQuestionAnswering.from_pretrained(folder).eval()
    processor = BlipImageProcessor.from_pretrained(folder)
    shown = [Image.fromarray(image.transpose(1, 2, 0)) for image in images.numpy()]
    with torch.no_grad():
        pixels = processor(images=shown, return_tensors="pt")["pixel_values"]
        expected = model.vision_model(pixel_values=pixels).pooler_output
    found = features(folder, images)
    assert found.embeddings.dtype == torch.float64
    assert found.logits is found.scores is None
    torch.testing.assert_close(found.embeddings.float(), expected, rtol=1e-4, atol=1e-5)
    assert torch.cdist(found.embeddings, found.embeddings).fill_diagonal_(1).min() > 1e-3


def test_only_the_vision_part_is_loaded(folder, capsys, caplog):
    network = BlipVqa(str(folder), 2).load(folder)
    whole = BlipForQuestionAnswering.from_pretrained(folder)
    capsys.readouterr()
    size = sum(p.numel() for p in network.parameters())
    assert size == sum(p.numel() for p in whole.vision_model.parameters())
    assert not network.training
    assert BlipVqa(str(folder), 2).load(folder) is not network
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_a_size_of_two_sides_is_height_and_width():
    settings = {"size": {"height": 4, "width": 6}, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    assert Preprocessing(settings)(pictures(2, 3, 9, 9)).shape == (2, 3, 4, 6)


@pytest.mark.parametrize("size", [(64, 64), (48, 24), (12, 12)])
def test_images_are_resized_to_both_sides_as_by_pil(folder, size):
    """Within one of 255 levels: PIL rounds between the two directions."""
    prepare = BlipVqa(str(folder), 2).load(folder).preprocessing
    images = pictures(2, 3, *size)
    levels = prepare(images) * prepare.std + prepare.mean
    for image, seen in zip(images.numpy(), levels.numpy(), strict=True):
        picture = Image.fromarray(image.transpose(1, 2, 0))
        expected = picture.resize((BLIP_SIDE, BLIP_SIDE), Image.Resampling.BICUBIC)
        difference = np.abs(seen.transpose(1, 2, 0) - np.asarray(expected).astype(float))
        assert difference.max() < 1.01
        assert difference.mean() < 0.3


def test_a_size_that_is_one_number_means_both_sides(folder, tmp_path):
    save_blip(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "size": BLIP_SIDE}))
    images = pictures(2, 1, 20, 40)
    assert torch.equal(features(tmp_path, images).embeddings, features(folder, images).embeddings)


def test_weights_as_torch_writes_them_are_read_too(folder, tmp_path):
    save_blip(tmp_path, binary=True)
    images = pictures(2, 3, 20, 20)
    assert torch.equal(features(tmp_path, images).embeddings, features(folder, images).embeddings)


def test_other_kinds_of_models_are_refused(tmp_path):
    save_clip(tmp_path)
    with pytest.raises(DataError, match=r"^extractor\.blip_vqa\.weights: .*type blip, got clip"):
        BlipVqa(str(tmp_path), 2).load(tmp_path)


def test_weights_without_the_vision_part_are_refused(tmp_path):
    model = save_blip(tmp_path, binary=True)
    kept = {k: v for k, v in model.state_dict().items() if "vision_model.encoder" not in k}
    torch.save(kept, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"another network: .*encoder.*got None"):
        BlipVqa(str(tmp_path), 2).load(tmp_path)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("config", {"vision_config": {"hidden_size": "wide"}}, "describes no network"),
        ("config", {"vision_config": {"num_attention_heads": 0}}, "describes no network"),
        ("config", {"vision_config": {"hidden_act": "none"}}, "describes no network"),
        ("preprocessor_config", {"size": {"height": 0, "width": 0}}, "does not say how"),
        ("preprocessor_config", {"size": {"height": "8", "width": "8"}}, "does not say how"),
        ("preprocessor_config", {"size": -1}, "does not say how"),
        ("preprocessor_config", {"image_mean": ["a", "b", "c"]}, "does not say how"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name, settings, message, tmp_path):
    save_blip(tmp_path)
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(
        DataError, match=rf"^extractor\.blip_vqa\.weights: .*{name}\.json {message}"
    ):
        BlipVqa(str(tmp_path), 2).load(tmp_path)


def test_what_is_published_is_fetched_without_the_text_part():
    asset = BlipVqa("Salesforce/blip-vqa-base", 2).assets()["weights"]
    assert asset.repo == "Salesforce/blip-vqa-base"
    assert asset.patterns == ("config.json", "preprocessor_config.json", "model.safetensors")


def test_batches_hold_something():
    with pytest.raises(ConfigError, match="batch_size: expected 1 or more, got 0"):
        BlipVqa("Salesforce/blip-vqa-base", 0)
