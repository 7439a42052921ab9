"""What both ways of fine-tuning Stable Diffusion share, and the U-Net fine-tuned as a whole."""

import copy
import json
import pickle
import shutil

import numpy as np
import pytest
import tiny_networks as tiny
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from crediting import lora
from crediting.errors import ConfigError, DataError
from crediting.models import StableDiffusion, pretrained
from crediting.models.autoencoder import read_kl
from crediting.models.lora_file import FILE
from crediting.pruning import Magnitude
from crediting.randomness import Stream

CAPTIONS = {"caption": np.array(["a cat", "a dog", "a cat"])}
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A pipeline in memory, and its folder."""
    folder = tmp_path_factory.mktemp("sd")
    return tiny.stable_diffusion(folder), folder / "pipeline"


@pytest.fixture(scope="module")
def folder(pipeline):
    return pipeline[1]


@pytest.fixture
def own_folder(folder, tmp_path):
    """A copy that may be damaged."""
    shutil.copytree(folder, tmp_path / "pipeline")
    return tmp_path / "pipeline"


def sd(folder, lora=None, size=32, mirror=False, batch_size=2):
    return StableDiffusion(str(folder), lora and str(lora), size, mirror, batch_size, None)


def images(count=3, size=32):
    words = Stream("images").words(torch.arange(count), 3 * size * size) % 256
    return words.reshape(count, 3, size, size).to(torch.uint8)


def inputs():
    ids = torch.arange(2)
    return {
        "sample": Stream("points").normal(ids, (4, 16, 16)),
        "timestep": torch.tensor([3, 700]),
        "encoder_hidden_states": Stream("prompts").normal(ids, (tiny.LENGTH, 16)),
    }


def output(unet):
    with torch.no_grad():
        return unet(**inputs()).sample


def weights_equal(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# ------------------------------------------------------------------------------ prompts


@pytest.mark.parametrize(
    "prompt",
    ["", "a cat", "a painting of a cat", "dog " * 20],
    ids=["empty", "short", "long", "cut"],
)
def test_prompts_are_embedded_as_the_pipeline_does(pipeline, prompt):
    own, folder = pipeline
    expected, empty = own.encode_prompt(prompt, torch.device("cpu"), 1, True)
    found = sd(folder).embed(["", prompt], torch.device("cpu"))
    assert found.shape == (2, tiny.LENGTH, 16)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.cat([empty, expected]), rtol=0, atol=1e-6)


def test_reading_the_text_encoder_says_nothing(own_folder, capfd):
    sd(own_folder).embed(["a cat"], torch.device("cpu"))
    assert capfd.readouterr().err == ""


def test_padding_is_masked_where_the_pipeline_does_it(own_folder):
    path = own_folder / "text_encoder" / "config.json"
    plain = sd(own_folder).embed(["a cat"], torch.device("cpu"))
    pretrained.forget()
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_attention_mask": True}))
    own = StableDiffusionPipeline.from_pretrained(own_folder)
    expected, _ = own.encode_prompt("a cat", torch.device("cpu"), 1, False)
    found = sd(own_folder).embed(["a cat"], torch.device("cpu"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (found - plain).abs().max() > 1e-3


def test_batches_change_nothing_but_rounding(folder):
    prompts = ["a cat", "a dog", "of", "painting", ""]
    one, many = (sd(folder, batch_size=k).embed(prompts, torch.device("cpu")) for k in (1, 5))
    torch.testing.assert_close(one, many, rtol=0, atol=1e-6)


def test_each_distinct_caption_is_embedded_once(folder):
    model = sd(folder)
    examples = model.encode(images(), CAPTIONS)
    assert examples.caption_of.tolist() == [0, 1, 0]
    assert torch.equal(examples.captions, model.embed(["a cat", "a dog"], torch.device("cpu")))
    condition = examples.conditions(torch.tensor([2]))["encoder_hidden_states"]
    assert torch.equal(condition, examples.captions[:1])


def test_a_dataset_without_captions_is_refused(folder):
    with pytest.raises(DataError, match=r"^dataset: expected a column `caption`.*artist, label"):
        sd(folder).encode(images(), {"label": np.zeros(3), "artist": np.zeros(3)})


# ------------------------------------------------------------------------------ images


def test_images_become_scaled_posteriors(pipeline):
    own, folder = pipeline
    examples = sd(folder, mirror=True).encode(images(), CAPTIONS)
    scaling = own.vae.config.scaling_factor
    for found, source in ((examples, images()), (examples.mirrored, images().flip(-1))):
        with torch.no_grad():
            posteriors = [
                own.vae.encode(b.float() / 127.5 - 1).latent_dist for b in source.split(2)
            ]
        assert torch.equal(found.latents, torch.cat([p.mean for p in posteriors]) * scaling)
        assert torch.equal(found.deviations, torch.cat([p.std for p in posteriors]) * scaling)


def test_latents_are_decoded_as_the_pipeline_does(pipeline):
    own, folder = pipeline
    model = sd(folder)
    latents = model.encode(images(), CAPTIONS).latents
    with torch.no_grad():
        decoded = own.vae.decode(latents / own.vae.config.scaling_factor).sample
    expected = own.image_processor.postprocess(decoded, output_type="pt") * 255
    assert (model.decode(latents).float() - expected).abs().max() <= 0.501


def test_latent_shape_follows_from_the_size_of_the_images(folder):
    assert sd(folder).latent_shape() == (4, 16, 16)
    assert sd(folder, size=64).latent_shape() == (4, 32, 32)


def test_a_size_that_cannot_be_halved_is_refused(folder):
    with pytest.raises(ConfigError, match=r"^model\.size: expected a multiple of 2, .*got 33$"):
        sd(folder, size=33).latent_shape()


def test_images_of_another_size_are_refused(folder):
    reason = (
        r"^model\.pretrained: .*\(4, 16, 16\).*got \(4, 8, 8\) for images of 16 x 16.*model\.size"
    )
    with pytest.raises(ConfigError, match=reason):
        sd(folder).encode(images(size=16), CAPTIONS)


def test_noise_is_that_of_the_pipeline_without_clipping(pipeline):
    own, folder = pipeline
    noise = sd(folder).noise_scheduler()
    assert torch.equal(noise.alphas_cumprod, own.scheduler.alphas_cumprod)
    assert noise.config.clip_sample is False
    assert noise.config.steps_offset == 1


# ------------------------------------------------------------------------------ the U-Net


def test_untrained_is_the_published_unet_free_to_be_trained(folder):
    model = sd(folder)
    published = tiny.conditional_unet()
    denoiser = model.untrained(0)
    assert weights_equal(denoiser, published)
    assert torch.equal(output(denoiser), output(published))
    assert all(p.requires_grad for p in denoiser.parameters())
    for parameter in denoiser.parameters():
        parameter.data.zero_()
    assert weights_equal(model.untrained(1), published)
    assert weights_equal(model.reinitialise(denoiser, 3), published)


def test_example_inputs_are_one_call(folder):
    model = sd(folder)
    denoiser = model.untrained(0)
    example = model.example_inputs(denoiser)
    assert example["encoder_hidden_states"].shape == (1, tiny.LENGTH, 16)
    assert denoiser(**example).sample.shape == (1, 4, 16, 16)


def test_it_is_pruned_saved_and_loaded(folder, tmp_path):
    model = sd(folder)
    dense = model.untrained(0)
    pruned, report = Magnitude(0.3, None).prune(dense, model, None)
    assert report.parameters_after < report.parameters_before
    model.save(tmp_path, pruned, "denoiser")
    loaded = model.load(tmp_path, "denoiser")
    assert weights_equal(loaded, pruned)
    assert torch.equal(output(loaded), output(pruned))
    assert output(pruned).shape == (2, 4, 16, 16)
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*endpoints=dense"):
        model.reinitialise(pruned, 0)


def test_it_stays_picklable(folder):
    model = sd(folder)
    model.encode(images(1), {"caption": np.array(["a cat"])})
    model.untrained(0)
    again = pickle.loads(pickle.dumps(model))
    assert vars(again) == vars(model)
    assert len(pickle.dumps(model)) < 1000


# ------------------------------------------------------------------------------ adapters folded in


def adapted(own, alpha, rank=4):
    """Return the pipeline's U-Net with adapters that do something."""
    unet = copy.deepcopy(own.unet)
    ranks = dict.fromkeys(lora.target_names(unet, TARGETS), rank)
    lora.attach(unet, ranks, alpha / rank, 0.0, seed=0)
    for index, (_, up) in enumerate(lora.factors(unet).values()):
        up.data = 0.1 * Stream("up", index).normal(torch.arange(len(up)), up.shape[1:])
    return unet


def write_pipeline_style(own, unet, folder):
    from peft.utils import get_peft_model_state_dict

    own.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))


def write_pipeline_style_with_metadata(own, unet, folder):
    from peft.utils import get_peft_model_state_dict

    settings = json.loads(json.dumps(unet.peft_config["default"].to_dict(), default=sorted))
    own.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(unet),
        unet_lora_adapter_metadata=settings,
    )


def write_network_style(own, unet, folder):
    unet.save_lora_adapter(folder)


def write_kohya_style(own, unet, folder):
    tensors = {}
    for name, (down, up) in lora.factors(unet).items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = down.detach()
        tensors[f"{stem}.lora_up.weight"] = up.detach()
        tensors[f"{stem}.alpha"] = torch.tensor(lora.scale(unet) * len(down))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / FILE, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("write", "alpha"),
    [
        (write_pipeline_style, 4),
        (write_pipeline_style_with_metadata, 8),
        (write_network_style, 4),
        (write_network_style, 8),
        (write_kohya_style, 8),
    ],
)
def test_published_adapters_are_folded_in_as_the_pipeline_loads_them(
    pipeline, tmp_path, write, alpha
):
    own, folder = pipeline
    unet = adapted(own, alpha)
    write(own, unet, tmp_path / "lora")
    denoiser = sd(folder, lora=tmp_path / "lora").untrained(0)
    assert list(denoiser.state_dict()) == list(own.unet.state_dict())
    assert (output(own.unet) - output(denoiser)).abs().max() > 1e-3
    torch.testing.assert_close(output(denoiser), output(unet), rtol=0, atol=1e-5)
    if write is not write_network_style:  # which `load_lora_weights` does not read
        own.load_lora_weights(tmp_path / "lora", weight_name=FILE)
        try:
            torch.testing.assert_close(output(denoiser), output(own.unet), rtol=0, atol=1e-5)
        finally:
            own.unload_lora_weights()


def test_what_is_needed_includes_the_adapters(pipeline, tmp_path):
    own, folder = pipeline
    write_network_style(own, adapted(own, 4), tmp_path / "lora")
    assets = sd(folder, lora=tmp_path / "lora").assets()
    assert set(assets) == {"pretrained", "lora"}
    assert assets["lora"].find() == tmp_path / "lora"
    assert set(sd(folder).assets()) == {"pretrained"}


def test_adapters_of_the_text_encoder_are_refused(pipeline, tmp_path):
    own, folder = pipeline
    write_pipeline_style(own, adapted(own, 4), tmp_path / "lora")
    path = tmp_path / "lora" / FILE
    tensors = load_file(path)
    save_file(tensors | {"text_encoder.q.lora_A.weight": torch.zeros(4, 16)}, path)
    with pytest.raises(ConfigError, match=r"^model\.lora: .*some of the text encoder"):
        sd(folder, lora=tmp_path / "lora").untrained(0)


def test_adapters_of_another_unet_are_refused(pipeline, tmp_path):
    own, folder = pipeline
    write_pipeline_style(own, adapted(own, 4), tmp_path / "lora")
    path = tmp_path / "lora" / FILE
    tensors = load_file(path)
    wider = {name: torch.zeros(*tensor.shape, 2).flatten(-2) for name, tensor in tensors.items()}
    save_file(wider, path)
    with pytest.raises(DataError, match=r"^model\.lora: .*does not fit model\.pretrained"):
        sd(folder, lora=tmp_path / "lora").untrained(0)
    save_file({name.replace("attn1", "attn7"): t for name, t in tensors.items()}, path)
    with pytest.raises(DataError, match=r"^model\.lora: .*does not fit model\.pretrained"):
        sd(folder, lora=tmp_path / "lora").untrained(0)


def test_a_damaged_file_of_adapters_is_named(pipeline, tmp_path):
    own, folder = pipeline
    write_pipeline_style(own, adapted(own, 4), tmp_path / "lora")
    path = tmp_path / "lora" / FILE
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"^model\.lora: .*cannot be read.*save_lora_weights"):
        sd(folder, lora=tmp_path / "lora").untrained(0)


def test_the_files_tested_are_in_the_names_they_stand_for(pipeline, tmp_path):
    own, _ = pipeline
    unet = adapted(own, 4)
    first = {}
    for write in (write_pipeline_style, write_network_style):
        write(own, unet, tmp_path / write.__name__)
        with safe_open(tmp_path / write.__name__ / FILE, framework="pt") as file:
            first[write] = min(file.keys())
    assert first[write_pipeline_style].startswith("unet.down_blocks.0")
    assert first[write_network_style].startswith("down_blocks.0")


# ------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(own_folder, part):
    shutil.rmtree(own_folder / part)
    with pytest.raises(DataError, match=rf"^model\.pretrained: .*{part}/"):
        sd(own_folder).untrained(0)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_truncated_weights_are_named(own_folder, part):
    (path,) = (own_folder / part).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    model = sd(own_folder)
    read = {
        "unet": model.base,
        "vae": lambda: model.decode(torch.zeros(1, 4, 16, 16)),
        "text_encoder": lambda: model.embed([""], torch.device("cpu")),
    }
    with pytest.raises(DataError, match=rf"^model\.pretrained: .*{part} cannot be read"):
        read[part]()


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("vae/config.json", {"latent_channels": None}),
        ("text_encoder/config.json", {"max_position_embeddings": None}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "none"}),
    ],
)
def test_settings_that_are_missing_or_make_no_sense_are_named(own_folder, file, settings):
    denoiser = sd(own_folder).untrained(0)
    path = own_folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    model = sd(own_folder)
    with pytest.raises(DataError, match=rf"^model\.pretrained: .*{file} "):
        (model.noise_scheduler(), model.example_inputs(denoiser))


@pytest.mark.parametrize("scaling", [None, "0.2", 0, -1.0])
def test_a_scaling_of_latents_that_is_none_is_named(own_folder, scaling):
    path = own_folder / "vae/config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "scaling_factor": scaling}))
    told = rf"^model\.pretrained: .*scaling_factor in .*vae/config\.json, got {scaling!r}"
    with pytest.raises(DataError, match=told):
        sd(own_folder).decode(torch.zeros(1, 4, 16, 16))
    with pytest.raises(DataError, match=told):
        sd(own_folder).encode(images(), CAPTIONS)


def test_without_a_scaling_of_latents_it_is_that_of_the_first_models(own_folder):
    path = own_folder / "vae/config.json"
    settings = json.loads(path.read_text())
    del settings["scaling_factor"]
    latents = torch.ones(1, 4, 16, 16)
    path.write_text(json.dumps({**settings, "scaling_factor": 0.18215}))
    stated = sd(own_folder).decode(latents)
    pretrained.forget()
    path.write_text(json.dumps(settings))
    assert torch.equal(sd(own_folder).decode(latents), stated)


@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_tokenizer_that_cannot_be_read_is_named(own_folder, content):
    for path in (own_folder / "tokenizer").iterdir():
        path.write_text(content)
    with pytest.raises(DataError, match=r"^model\.pretrained: .*tokenizer holds no tokenizer"):
        sd(own_folder).embed([""], torch.device("cpu"))


def test_a_tokenizer_that_lacks_its_words_is_refused(own_folder):
    """The library makes one of two tokens, and says nothing."""
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (own_folder / "tokenizer" / name).unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"model\.pretrained: .*tokenizer"):
        sd(own_folder).embed(["a photo"], torch.device("cpu"))


def test_a_larger_family_is_refused(own_folder):
    path = own_folder / "unet" / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "addition_embed_type": "image"}))
    with pytest.raises((ConfigError, DataError), match=r"^model\.pretrained: "):
        sd(own_folder).untrained(0)


def test_networks_are_read_once_per_process(folder):
    pretrained.forget()
    model = sd(folder)
    assert model.base() is sd(folder).base()
    first = model.base()
    pretrained.forget()
    assert model.base() is not first


def test_a_network_is_read_once_however_its_device_is_called(folder):
    """As on a GPU where images say cuda:0, and a machine cuda."""
    first, second = (
        pretrained.frozen(read_kl, torch.device(name), folder / "vae") for name in ("cpu", "cpu:0")
    )
    assert first is second


@pytest.mark.parametrize("key", ["size", "batch_size"])
def test_impossible_numbers_name_the_key(folder, key):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: expected a positive number, got 0"):
        sd(folder, **{key: 0})


def test_older_files_of_the_text_encoder_are_read(own_folder):
    (path,) = (own_folder / "text_encoder").glob("*.safetensors")
    expected = sd(own_folder).embed(["a cat"], torch.device("cpu"))
    pretrained.forget()
    weights = {
        f"text_model.{name.removeprefix('text_model.')}": tensor.half()
        for name, tensor in load_file(path).items()
    }
    weights["text_model.embeddings.position_ids"] = torch.arange(tiny.LENGTH)[None]
    path.unlink()
    torch.save(weights, path.with_name("pytorch_model.bin"))
    found = sd(own_folder).embed(["a cat"], torch.device("cpu"))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)
