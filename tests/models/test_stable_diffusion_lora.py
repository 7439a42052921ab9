import json
import pickle
import re

import numpy as np
import pytest
import tiny_networks as tiny
import torch

from crediting import lora
from crediting.errors import ArtifactError, ConfigError
from crediting.models import StableDiffusionLoRA
from crediting.models.checkpoint import load_weights, save_weights
from crediting.randomness import Stream

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
RANK = 4


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd")
    return tiny.stable_diffusion(folder), folder / "pipeline"


@pytest.fixture(scope="module")
def model(pipeline):
    return sd_lora(pipeline[1])


def sd_lora(folder, rank=RANK, scale=1.0, targets=TARGETS, adapters=None):
    return StableDiffusionLoRA(str(folder), adapters, 32, False, 2, rank, scale, targets, "recipe")


def output(unet):
    ids = torch.arange(2)
    with torch.no_grad():
        return unet(
            Stream("points").normal(ids, (4, 16, 16)),
            torch.tensor([3, 700]),
            Stream("prompts").normal(ids, (tiny.LENGTH, 16)),
        ).sample


def trained(model, seed=0):
    """Return a denoiser whose adapters do something."""
    denoiser = model.untrained(seed)
    for index, (_, up) in enumerate(lora.factors(denoiser).values()):
        up.data = 0.1 * Stream("up", index).normal(torch.arange(len(up)), up.shape[1:])
    return denoiser


def thinned(model):
    """Return one whose adapters have different ranks, one of them none."""
    denoiser = trained(model)
    kept = {
        name: torch.arange(index % (RANK + 1)) for index, name in enumerate(lora.ranks(denoiser))
    }
    lora.keep(denoiser, kept)
    return denoiser


def weights_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_untrained_is_the_base_with_adapters_that_do_nothing(model):
    denoiser = model.untrained(0)
    base = tiny.conditional_unet().requires_grad_(False)
    assert torch.equal(output(denoiser), output(base))
    assert set(lora.ranks(denoiser).values()) == {RANK}
    assert len(lora.ranks(denoiser)) == 32
    trainable = {name for name, p in denoiser.named_parameters() if p.requires_grad}
    assert len(trainable) == 64
    assert all("lora_" in name for name in trainable)


def test_untrained_is_a_function_of_the_seed(model):
    assert weights_equal(model.untrained(1), model.untrained(1))
    assert not weights_equal(model.untrained(1), model.untrained(2))


def test_the_base_is_shared_and_stays(model):
    one, other = trained(model), trained(model, seed=1)
    name = "conv_in.weight"
    assert one.get_parameter(name).data_ptr() == other.get_parameter(name).data_ptr()
    before = output(other)
    with torch.no_grad():
        lora.merge(one)
    one.to(torch.float64)
    assert torch.equal(output(other), before)
    published = tiny.conditional_unet().requires_grad_(False)
    assert torch.equal(output(model.untrained(3)), output(published))


def test_moving_one_leaves_the_others_where_they_are(model):
    one, other = model.untrained(0), model.untrained(0)
    one.to("meta")
    assert {p.device.type for p in other.parameters()} == {"cpu"}
    assert {p.device.type for p in model.base().parameters()} == {"cpu"}


def test_gradients_reach_the_adapters_only(model):
    denoiser = trained(model)
    denoiser(**model.example_inputs(denoiser)).sample.square().sum().backward()
    for name, parameter in denoiser.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name


def test_reinitialising_keeps_ranks_and_forgets_the_rest(model):
    denoiser = thinned(model)
    fresh = model.reinitialise(denoiser, 5)
    assert lora.ranks(fresh) == lora.ranks(denoiser)
    assert len(set(lora.ranks(fresh).values())) > 1
    published = tiny.conditional_unet().requires_grad_(False)
    assert torch.equal(output(fresh), output(published))
    assert weights_equal(fresh, model.reinitialise(denoiser, 5))
    assert not weights_equal(fresh, model.reinitialise(denoiser, 6))
    untrained = model.untrained(5)
    assert weights_equal(model.reinitialise(trained(model), 5), untrained)
    for name, parameter in denoiser.named_parameters():
        same = fresh.get_parameter(name).data_ptr() == parameter.data_ptr()
        assert same is ("lora_" not in name), name


@pytest.mark.parametrize("make", [trained, thinned])
def test_saving_and_loading_is_bit_identical(pipeline, tmp_path, make):
    model = sd_lora(pipeline[1], scale=2.0)
    denoiser = make(model)
    model.save(tmp_path, denoiser, "denoiser")
    loaded = sd_lora(pipeline[1], scale=3.0).load(tmp_path, "denoiser")
    assert weights_equal(loaded, denoiser)
    assert torch.equal(output(loaded), output(denoiser))
    assert lora.scale(loaded) == 2.0
    flags = [[p.requires_grad for p in network.parameters()] for network in (loaded, denoiser)]
    assert flags[0] == flags[1]


def test_only_adapters_are_written(model, tmp_path):
    denoiser = trained(model)
    model.save(tmp_path, denoiser, "denoiser")
    weights = load_weights(tmp_path / "denoiser.safetensors")
    parameters = sum(p.numel() for p in denoiser.parameters() if p.requires_grad)
    assert sum(tensor.numel() for tensor in weights.values()) == parameters
    architecture = json.loads((tmp_path / "architecture.json").read_text())
    assert architecture["ranks"] == lora.ranks(denoiser)
    assert architecture["targets"] == TARGETS
    assert architecture["base"] == {"pretrained": model.assets()["pretrained"].digest()}


def test_a_pipeline_can_load_what_is_written(pipeline, model, tmp_path):
    own, _ = pipeline
    denoiser = thinned(model)
    model.save(tmp_path, denoiser, "denoiser")
    own.load_lora_weights(tmp_path, weight_name="denoiser.safetensors")
    try:
        torch.testing.assert_close(output(own.unet), output(denoiser), rtol=0, atol=1e-5)
    finally:
        own.unload_lora_weights()


def test_it_is_a_stable_diffusion_otherwise(model):
    assert model.conditional
    assert model.training == "recipe"
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    examples = model.encode(images, {"caption": np.array(["a cat"])})
    assert examples.latents.shape == (1, *model.latent_shape())
    assert not examples.can_mirror


def test_channels_are_not_pruned(model):
    with pytest.raises(ConfigError, match=r"^pruning: .*pruning=lora_ranks or pruning=none"):
        model.prunable(model.untrained(0))


def test_it_stays_picklable(model):
    model.untrained(0)
    again = pickle.loads(pickle.dumps(model))
    assert vars(again) == vars(model)
    assert len(pickle.dumps(model)) < 1000


def test_targets_that_nothing_is_called_are_refused(pipeline):
    with pytest.raises(ConfigError, match=r"^model\.targets: .*got query, which none has"):
        sd_lora(pipeline[1], targets=["query"]).untrained(0)


@pytest.mark.parametrize(("key", "value"), [("rank", 0), ("scale", 0.0), ("targets", [])])
def test_impossible_arguments_name_the_key(key, value):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: expected "):
        sd_lora("anywhere", **{key: value})


# ------------------------------------------------------------------------------ damage


def expect_damage(model, folder, name, reason):
    path = re.escape(str(folder / name))
    with pytest.raises(ArtifactError, match=rf"(?s)^{path}: .*{reason}.*Delete the folder"):
        model.load(folder, "denoiser")


@pytest.mark.parametrize("name", ["denoiser.safetensors", "architecture.json"])
def test_missing_files_are_named(model, tmp_path, name):
    model.save(tmp_path, trained(model), "denoiser")
    (tmp_path / name).unlink()
    expect_damage(model, tmp_path, name, "it is missing")


@pytest.mark.parametrize("content", ["{}", "[]", '{"ranks": {"no.such": 4}, "scale": 1.0}'])
def test_an_architecture_of_something_else_is_named(model, tmp_path, content):
    model.save(tmp_path, trained(model), "denoiser")
    (tmp_path / "architecture.json").write_text(content)
    expect_damage(model, tmp_path, "denoiser.safetensors", "does not fit architecture.json")


def test_tensors_that_do_not_fit_the_ranks_are_named(model, tmp_path):
    model.save(tmp_path, trained(model), "denoiser")
    path = tmp_path / "denoiser.safetensors"
    weights = load_weights(path)
    name = min(weights)
    for changed in (
        {**weights, name: weights[name][:3]},
        {other: tensor for other, tensor in weights.items() if other != name},
        {**weights, "stranger": torch.zeros(1)},
    ):
        save_weights(path, changed)
        expect_damage(model, tmp_path, "denoiser.safetensors", "does not fit architecture.json")
