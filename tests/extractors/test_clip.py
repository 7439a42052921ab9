import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_hub import CLIP_SIDE, pictures, save_clip
from transformers import CLIPImageProcessor, CLIPTokenizer

from crediting.errors import ConfigError, DataError
from crediting.extractors import Clip

PROMPTS = ["a painting of a cat", "dog", "a dog of a cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(folder).eval()


def clip(folder, prompts=None, batch_size=2):
    return Clip(str(folder), prompts, batch_size)


def features(folder, images, prompts=None, batch_size=2):
    extractor = clip(folder, prompts, batch_size)
    return extractor.features(extractor.load(folder), images)


def cosines(model, folder, pixels, prompts):
    """Return the cosine of every image with every prompt, by the published model as a whole."""
    tokens = CLIPTokenizer.from_pretrained(folder)(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(pixel_values=pixels, **tokens).logits_per_image
    return logits / model.logit_scale.exp()


def processed(folder, images):
    processor = CLIPImageProcessor.from_pretrained(folder)
    shown = [Image.fromarray(image.transpose(1, 2, 0)) for image in images.numpy()]
    return processor(images=shown, return_tensors="pt")["pixel_values"]


# ---------------------------------------------------------------------------------- embeddings


def test_embeddings_are_those_of_the_published_model_at_length_one(folder, model):
    images = pictures(5, 3, CLIP_SIDE, CLIP_SIDE)
    with torch.no_grad():
        expected = model(
            pixel_values=processed(folder, images), input_ids=torch.tensor([[0, 1]])
        ).image_embeds
    found = features(folder, images)
    assert found.embeddings.dtype == torch.float64
    assert found.logits is None
    assert found.scores is None
    torch.testing.assert_close(found.embeddings.float(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.embeddings.norm(dim=1), torch.ones(5).double())
    assert torch.cdist(found.embeddings, found.embeddings).fill_diagonal_(1).min() > 1e-3


def test_images_that_need_no_resizing_are_prepared_exactly(folder):
    images = pictures(3, 3, CLIP_SIDE, CLIP_SIDE)
    shown = clip(folder).load(folder).tower.preprocessing(images)
    torch.testing.assert_close(shown, processed(folder, images), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(56, 56), (64, 40), (33, 50), (16, 16)])
def test_images_are_resized_and_cropped_as_by_pil(folder, size):
    """Within one of 255 levels: PIL rounds between the two directions."""
    images = pictures(2, 3, *size)
    short = min(size)
    resized = [int(CLIP_SIDE * side / short) for side in size]
    top, left = ((side - CLIP_SIDE) // 2 for side in resized)
    tower = clip(folder).load(folder).tower.preprocessing
    levels = tower(images) * tower.std + tower.mean
    for image, seen in zip(images.numpy(), levels.numpy(), strict=True):
        picture = Image.fromarray(image.transpose(1, 2, 0))
        expected = picture.resize((resized[1], resized[0]), Image.Resampling.BICUBIC).crop(
            (left, top, left + CLIP_SIDE, top + CLIP_SIDE)
        )
        difference = np.abs(seen.transpose(1, 2, 0) - np.asarray(expected).astype(float))
        assert difference.max() < 1.01
        assert difference.mean() < 0.3


def test_grey_images_are_seen_as_colour_ones(folder):
    grey = pictures(3, 1, 40, 40)
    colour = features(folder, grey.expand(-1, 3, -1, -1)).embeddings
    assert torch.equal(features(folder, grey).embeddings, colour)


def test_batches_do_not_matter(folder):
    images = pictures(5, 3, 30, 30)
    one = features(folder, images, PROMPTS, batch_size=5)
    other = features(folder, images, PROMPTS, batch_size=2)
    torch.testing.assert_close(one.embeddings, other.embeddings, rtol=0, atol=1e-6)
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=1e-4)


# -------------------------------------------------------------------------------------- scores


def test_scores_compare_image_i_with_prompt_i_modulo_k(folder, model):
    images = pictures(8, 3, CLIP_SIDE, CLIP_SIDE)
    every = cosines(model, folder, processed(folder, images), PROMPTS)
    expected = 100 * every[torch.arange(8), torch.arange(8) % 3].clamp(min=0)
    found = features(folder, images, PROMPTS)
    assert found.scores.dtype == torch.float64
    torch.testing.assert_close(found.scores.float(), expected, rtol=1e-4, atol=1e-4)
    assert found.scores.std() > 0.01


def test_prompts_unlike_an_image_score_zero(folder, model):
    images = pictures(3, 3, CLIP_SIDE, CLIP_SIDE)
    cosine = cosines(model, folder, processed(folder, images), PROMPTS).diagonal()
    extractor = clip(folder, PROMPTS)
    network = extractor.load(folder)
    scores = extractor.features(network, images).scores
    network.prompts = -network.prompts
    opposite = extractor.features(network, images).scores
    assert torch.equal(torch.minimum(scores, opposite), torch.zeros(3).double())
    torch.testing.assert_close((scores - opposite).float(), 100 * cosine, rtol=1e-4, atol=1e-4)


def test_prompts_are_cut_where_reading_ends(folder):
    images = pictures(1, 3, CLIP_SIDE, CLIP_SIDE)
    long, longer = ["a cat " * 8], ["a cat " * 9]
    assert features(folder, images, long).scores == features(folder, images, longer).scores


def test_without_prompts_there_are_no_scores_to_offer(folder):
    assert clip(folder).gives == ("embeddings",)
    assert clip(folder, PROMPTS).gives == Clip.gives == ("embeddings", "scores")


# ------------------------------------------------------------------------- where it comes from


def test_weights_as_torch_writes_them_are_read_too(folder, tmp_path):
    save_clip(tmp_path, binary=True)
    assert not (tmp_path / "model.safetensors").exists()
    images = pictures(2, 3, CLIP_SIDE, CLIP_SIDE)
    one, other = (features(place, images, PROMPTS) for place in (folder, tmp_path))
    assert torch.equal(one.embeddings, other.embeddings)
    assert torch.equal(one.scores, other.scores)


def test_constants_in_old_files_are_no_weights(folder, tmp_path):
    model = save_clip(tmp_path, binary=True)
    positions = {
        f"{part}_model.embeddings.position_ids": torch.arange(5)[None]
        for part in ("text", "vision")
    }
    torch.save({**model.state_dict(), **positions}, tmp_path / "pytorch_model.bin")
    images = pictures(2, 3, CLIP_SIDE, CLIP_SIDE)
    assert torch.equal(features(tmp_path, images).embeddings, features(folder, images).embeddings)


def test_sizes_may_be_single_numbers_as_in_old_files(folder, tmp_path):
    save_clip(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "size": CLIP_SIDE, "crop_size": CLIP_SIDE}))
    images = pictures(2, 3, 40, 60)
    assert torch.equal(features(tmp_path, images).embeddings, features(folder, images).embeddings)


def test_loading_draws_no_random_numbers_and_fitting_writes_nothing(folder, tmp_path):
    before = torch.random.get_rng_state()
    network = clip(folder, PROMPTS).load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not network.training
    clip(folder).fit(pictures(2, 3, 28, 28), None, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("openai/clip-vit-base-patch32", "pytorch_model.bin"),
        ("openai/clip-vit-large-patch14", "model.safetensors"),
    ],
)
def test_of_the_published_models_one_file_of_weights_is_fetched(name, file):
    asset = Clip(name, None, 1).assets()["weights"]
    assert asset.repo == asset.local == name
    assert asset.patterns == ("config.json", "preprocessor_config.json", file)
    assert "merges.txt" in Clip(name, PROMPTS, 1).assets()["weights"].patterns


@pytest.mark.parametrize(
    ("lacking", "prompts"),
    [
        ("config.json", None),
        ("preprocessor_config.json", None),
        ("model.safetensors", None),
        ("tokenizer_config.json", PROMPTS),
        ("merges.txt", PROMPTS),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path, lacking, prompts):
    save_clip(tmp_path)
    (tmp_path / lacking).unlink()
    if prompts:
        clip(tmp_path).load(tmp_path)  # for images alone it is not needed
    named = "model" if "model" in lacking else lacking
    with pytest.raises(DataError, match=rf"^extractor\.clip\.weights: .*{named}"):
        clip(tmp_path, prompts).load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not weights at all"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights_are_named(tmp_path, name, content):
    save_clip(tmp_path, binary="bin" in name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        DataError, match=rf"^extractor\.clip\.weights: .*{name} is no complete file"
    ):
        clip(tmp_path).load(tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path):
    save_clip(tmp_path)
    for name in ("tokenizer.json", "merges.txt"):
        if (tmp_path / name).exists():
            (tmp_path / name).write_text("<html>")
    with pytest.raises(DataError, match=r"^extractor\.clip\.weights: .*holds no tokenizer"):
        clip(tmp_path, PROMPTS).load(tmp_path)


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path):
    save_clip(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"projection_dim": 8', '"projection_dim": 9'))
    with pytest.raises(DataError, match=r"another network: 1 tensors differ.*visual_projection"):
        clip(tmp_path).load(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "blip"}, r"model of type clip, got blip"),
        ("preprocessor_config.json", {"resample": 2}, r"asks for resample=2; expected 3"),
        ("preprocessor_config.json", {"size": {}}, r"does not say how images are to be prepared"),
        ("preprocessor_config.json", {"image_mean": None}, r"does not say how images are to be"),
    ],
)
def test_other_kinds_of_models_are_refused(tmp_path, file, change, message):
    save_clip(tmp_path)
    settings = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps({**settings, **change}))
    with pytest.raises(DataError, match=message):
        clip(tmp_path).load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_settings_that_are_none_are_refused(tmp_path, content):
    save_clip(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"config\.json (is not JSON|holds a list)"):
        clip(tmp_path).load(tmp_path)


@pytest.mark.parametrize("prompts", ["captions", []])
def test_prompts_are_a_list_or_none(prompts):
    with pytest.raises(ConfigError, match=r"prompts: expected a list of prompts or null"):
        Clip("openai/clip-vit-base-patch32", prompts, 2)


def test_batches_hold_something():
    with pytest.raises(ConfigError, match="batch_size: expected 1 or more, got 0"):
        Clip("openai/clip-vit-base-patch32", None, 0)
