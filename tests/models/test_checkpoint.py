import json
import re

import pytest
import torch
from diffusers import UNet2DModel, VQModel

from crediting.errors import ArtifactError
from crediting.models import DDPM
from crediting.models.checkpoint import (
    load_denoiser,
    load_weights,
    save_denoiser,
    save_weights,
)
from crediting.pruning import Magnitude

UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
    "add_attention": False,
}
PLAIN = {
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
}
ATTENTION = {
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "add_attention": True,
    "attn_norm_num_groups": 2,
}
NOISE = {"num_train_timesteps": 1000}


def denoiser_of(blocks, ratio):
    model = DDPM({**UNET, **blocks}, NOISE, None, None)
    dense = model.untrained(0)
    return Magnitude(ratio, None).prune(dense, model, None)[0] if ratio else dense


def outputs(denoiser):
    images = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)
    with torch.no_grad():
        return denoiser(images, torch.tensor([3, 700])).sample


def stated_integers(denoiser):
    return {
        (name, key): value
        for name, module in denoiser.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float)
    }


@pytest.fixture
def folder(tmp_path):
    save_denoiser(tmp_path, denoiser_of(PLAIN, 0.3))
    return tmp_path


@pytest.mark.parametrize("ratio", [None, 0.3, 0.5])
@pytest.mark.parametrize("blocks", [PLAIN, ATTENTION], ids=["plain", "attention"])
def test_round_trip_is_bit_identical(tmp_path, blocks, ratio):
    denoiser = denoiser_of(blocks, ratio)
    save_denoiser(tmp_path, denoiser)
    loaded = load_denoiser(tmp_path)
    assert list(loaded.state_dict()) == list(denoiser.state_dict())
    for name, tensor in denoiser.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert torch.equal(outputs(loaded), outputs(denoiser))
    assert stated_integers(loaded) == stated_integers(denoiser)


@pytest.mark.parametrize("ratio", [None, 0.3])
def test_loaded_weights_are_trainable_and_own_aligned_memory(tmp_path, ratio):
    save_denoiser(tmp_path, denoiser_of(ATTENTION, ratio))
    loaded = load_denoiser(tmp_path)
    parameters = list(loaded.parameters())
    assert {p.device.type for p in parameters} == {"cpu"}
    assert all(p.requires_grad and p.data_ptr() % 64 == 0 for p in parameters)
    loaded(torch.zeros(1, 1, 8, 8), 5).sample.sum().backward()
    assert all(p.grad is not None for p in parameters)


def test_architecture_lists_only_what_pruning_changed(tmp_path):
    save_denoiser(tmp_path / "dense", denoiser_of(PLAIN, None))
    save_denoiser(tmp_path / "pruned", denoiser_of(PLAIN, 0.3))
    dense = json.loads((tmp_path / "dense" / "architecture.json").read_text())
    pruned = json.loads((tmp_path / "pruned" / "architecture.json").read_text())
    assert dense["class"] == pruned["class"] == "UNet2DModel"
    assert dense["config"] == pruned["config"]
    assert dense["config"]["block_out_channels"] == [16, 32]
    assert dense["widths"] == {}
    assert pruned["widths"]["conv_in"] == {"out_channels": 12}
    assert pruned["widths"]["conv_norm_out"] == {"num_channels": 12}


def test_several_weights_share_one_architecture(folder):
    averaged = {name: tensor * 2 for name, tensor in load_denoiser(folder).state_dict().items()}
    save_weights(folder / "averaged.safetensors", averaged)
    loaded = load_denoiser(folder, "averaged").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in averaged.items())
    assert sorted(path.name for path in folder.iterdir()) == [
        "architecture.json",
        "averaged.safetensors",
        "denoiser.safetensors",
    ]


def test_plain_weights_round_trip(tmp_path):
    weights = {"odd": torch.randn(3).half(), "view": torch.randn(4, 6).T, "step": torch.tensor(7)}
    save_weights(tmp_path / "w.safetensors", weights)
    loaded = load_weights(tmp_path / "w.safetensors")
    assert loaded.keys() == weights.keys()
    for name, tensor in weights.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].data_ptr() % 64 == 0


def test_saving_and_loading_leave_the_global_stream_alone(tmp_path):
    denoiser = denoiser_of(PLAIN, None)
    before = torch.random.get_rng_state()
    save_denoiser(tmp_path, denoiser)
    load_denoiser(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_other_families_of_diffusers_round_trip(tmp_path):
    decoder = VQModel(block_out_channels=[8], norm_num_groups=4, num_vq_embeddings=4, sample_size=8)
    save_denoiser(tmp_path, decoder)
    loaded = load_denoiser(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], t) for name, t in decoder.state_dict().items())


def test_failed_write_keeps_the_old_file(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(path, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_denoiser(folder, UNet2DModel(**UNET, **PLAIN))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def expect_damage(folder, name, reason):
    advice = rf"Delete the folder {re.escape(str(folder))} and run the same command again\."
    path = re.escape(str(folder / name))
    with pytest.raises(ArtifactError, match=rf"^{path}: .*{reason}.*{advice}$"):
        load_denoiser(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, 5_000, -1])
def test_truncated_weights_are_named(folder, keep):
    path = folder / "denoiser.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    expect_damage(folder, path.name, "not a complete safetensors file")


@pytest.mark.parametrize("name", ["denoiser.safetensors", "architecture.json"])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    expect_damage(folder, name, "it is missing")


@pytest.mark.parametrize("content", [b"", b'{"class": "UNet2D', b"\xff\xfe"])
def test_architecture_that_is_not_json_is_named(folder, content):
    (folder / "architecture.json").write_bytes(content)
    expect_damage(folder, "architecture.json", "it is not JSON")


@pytest.mark.parametrize(
    "change",
    [
        {"class": "NoSuchModel"},
        {"class": "DDPMScheduler"},
        {"config": {"depth": 3}},
        {"config": []},
        {"widths": {"no.such.layer": {"out_channels": 3}}},
        {"widths": {"conv_in": {"no_such_width": 3}}},
        {"widths": {"conv_in": {"out_channels": "many"}}},
        {"widths": {"conv_in": {"out_channels": -3}}},
        {"widths": {"conv_in": 12}},
    ],
)
def test_architecture_of_no_denoiser_is_named(folder, change):
    path = folder / "architecture.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    expect_damage(folder, path.name, "it describes no denoiser")


@pytest.mark.parametrize("content", ["[]", "{}", "3"])
def test_json_of_another_kind_is_named(folder, content):
    (folder / "architecture.json").write_text(content)
    expect_damage(folder, "architecture.json", "it describes no denoiser")


def test_widths_that_do_not_fit_the_weights_are_named(folder):
    path = folder / "architecture.json"
    architecture = json.loads(path.read_text())
    architecture["widths"]["conv_in"]["out_channels"] = 13
    path.write_text(json.dumps(architecture))
    reason = r"2 of its tensors.*conv_in\.weight: expected shape \(13, 1, 3, 3\), found \(12, 1"
    expect_damage(folder, "denoiser.safetensors", reason)


def test_missing_and_surplus_weights_are_named(folder):
    weights = load_weights(folder / "denoiser.safetensors")
    weights["stranger"] = weights.pop("conv_out.bias")
    save_weights(folder / "denoiser.safetensors", weights)
    expect_damage(folder, "denoiser.safetensors", r"2 of.*conv_out\.bias: .*found None")


def test_keys_that_diffusers_only_warns_of_are_left_out(tmp_path):
    """A newer version may have published them; they are in the config, and make nothing."""
    published = UNet2DModel(**UNET, **PLAIN)
    published.save_pretrained(tmp_path / "published")
    config = tmp_path / "published/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_new_trick": True}))
    denoiser = DDPM(None, NOISE, str(tmp_path / "published"), None).untrained(0)
    save_denoiser(tmp_path / "ours", denoiser)
    loaded = load_denoiser(tmp_path / "ours").state_dict()
    assert all(torch.equal(loaded[name], t) for name, t in denoiser.state_dict().items())
