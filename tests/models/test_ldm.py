import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_networks as tiny
import torch
from safetensors.torch import load_file

from crediting.errors import ConfigError, DataError
from crediting.models import LDM, pretrained
from crediting.randomness import Stream

UNET = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
}
NOISE = {"num_train_timesteps": 1000, "clip_sample": False}


@pytest.fixture(autouse=True)
def _nothing_kept():
    pretrained.forget()
    yield
    pretrained.forget()


@pytest.fixture
def vq_folder(tmp_path):
    tiny.vq().save_pretrained(tmp_path / "vq")
    return tmp_path / "vq"


@pytest.fixture
def kl_folder(tmp_path):
    tiny.kl().save_pretrained(tmp_path / "kl")
    return tmp_path / "kl"


def ldm(autoencoder, scaling=1.0, mirror=False, batch_size=2, unet=UNET, **changes):
    settings = {**unet, **changes}
    return LDM(settings, NOISE, str(autoencoder), scaling, mirror, batch_size, None, None)


def images(count=5, size=16):
    words = Stream("images").words(torch.arange(count), 3 * size * size) % 256
    return words.reshape(count, 3, size, size).to(torch.uint8)


def pixels(values):
    return values.float() / 127.5 - 1


def test_a_vq_model_gives_latents_before_quantisation(vq_folder):
    examples = ldm(vq_folder, scaling=0.5).encode(images(), {})
    with torch.no_grad():
        expected = torch.cat([tiny.vq().encode(pixels(b)).latents for b in images().split(2)])
    assert torch.equal(examples.latents, expected * 0.5)
    assert examples.latents.dtype == torch.float32
    assert (examples.deviations, examples.mirrored, examples.captions) == (None, None, None)
    assert not examples.in_pixels
    assert not examples.can_mirror


def test_a_vq_model_quantises_when_it_decodes(vq_folder):
    model = ldm(vq_folder, scaling=0.5)
    latents = model.encode(images(), {}).latents
    with torch.no_grad():
        expected = torch.cat([tiny.vq().decode(b / 0.5).sample for b in latents.split(2)])
    decoded = model.decode(latents)
    assert torch.equal(decoded, ((expected.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
    codebook = tiny.vq().quantize.embedding.weight.detach()
    nearest = torch.cdist(latents.movedim(1, -1).reshape(-1, 3) / 0.5, codebook).argmin(1)
    quantised = codebook[nearest].reshape(5, 8, 8, 3).movedim(-1, 1)
    assert torch.equal(model.decode(quantised * 0.5), decoded)


def test_an_autoencoder_kl_gives_means_and_deviations(kl_folder):
    model = ldm(kl_folder, scaling=0.2, in_channels=4, out_channels=4)
    examples = model.encode(images(), {})
    with torch.no_grad():
        posteriors = [tiny.kl().encode(pixels(b)).latent_dist for b in images().split(2)]
    assert torch.equal(examples.latents, torch.cat([p.mean for p in posteriors]) * 0.2)
    assert torch.equal(examples.deviations, torch.cat([p.std for p in posteriors]) * 0.2)
    assert model.decode(examples.latents).shape == (5, 3, 16, 16)


def test_images_are_decoded_in_full_precision_whatever_denoisers_compute_in(kl_folder):
    model = ldm(kl_folder, in_channels=4, out_channels=4)
    latents = model.encode(images(), {}).latents
    expected = model.decode(latents)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.decode(latents), expected)


def test_latents_have_no_bounds_unless_a_pipeline_says_so(tmp_path):
    folder = Path(tiny.ldm_folder(tmp_path))
    model = LDM(None, None, str(folder), 1.0, False, 2, str(folder), None)
    (path,) = folder.glob("scheduler/scheduler_config.json")
    settings = json.loads(path.read_text())
    for stated, expected in ((None, False), (True, True)):
        settings.pop("clip_sample", None)
        stated_settings = {} if stated is None else {"clip_sample": stated}
        path.write_text(json.dumps({**settings, **stated_settings}))
        assert model.noise_scheduler().config.clip_sample is expected


def test_mirrored_images_are_encoded_where_asked_for(kl_folder):
    model = ldm(kl_folder, mirror=True, in_channels=4, out_channels=4)
    plain = ldm(kl_folder, in_channels=4, out_channels=4)
    examples = model.encode(images(), {})
    expected = plain.encode(images().flip(-1), {})
    assert examples.can_mirror
    assert torch.equal(examples.latents, plain.encode(images(), {}).latents)
    assert torch.equal(examples.mirrored.latents, expected.latents)
    assert torch.equal(examples.mirrored.deviations, expected.deviations)
    assert not torch.equal(examples.mirrored.latents, examples.latents.flip(-1))


@pytest.mark.parametrize("part", ["vqvae", "vae", ""])
def test_the_autoencoder_may_lie_in_a_pipeline(vq_folder, tmp_path, part):
    shutil.copytree(vq_folder, tmp_path / "pipeline" / part, dirs_exist_ok=True)
    found = ldm(tmp_path / "pipeline").encode(images(), {}).latents
    assert torch.equal(found, ldm(vq_folder).encode(images(), {}).latents)


def test_the_autoencoder_is_read_once_and_never_kept_on_the_model(vq_folder, monkeypatch):
    reads = []
    original = pretrained.read_network

    def counted(folder, kinds, key):
        reads.append(folder)
        return original(folder, kinds, key)

    monkeypatch.setattr("crediting.models.autoencoder.read_network", counted)
    model = ldm(vq_folder)
    before = dict(vars(model))
    model.decode(model.encode(images(), {}).latents)
    ldm(vq_folder, scaling=3.0).encode(images(1), {})
    assert reads == [vq_folder]
    assert vars(model) == before
    pretrained.forget()
    pickle.loads(pickle.dumps(model)).encode(images(1), {})
    assert len(reads) == 2


def test_the_autoencoder_is_frozen(vq_folder):
    examples = ldm(vq_folder).encode(images(), {})
    assert not examples.latents.requires_grad
    network = pretrained.frozen(_read, torch.device("cpu"), vq_folder)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def _read(folder):
    from crediting.models.autoencoder import read_vq_or_kl

    return read_vq_or_kl(folder)


def test_latents_of_another_shape_are_refused(vq_folder):
    reason = (
        r"^model\.autoencoder: .*\(3, 8, 8\).*got \(3, 16, 16\) for images of 32 x 32;.*sample_size"
    )
    with pytest.raises(ConfigError, match=reason):
        ldm(vq_folder).encode(images(2, size=32), {})
    with pytest.raises(ConfigError, match=r"^model\.autoencoder: .*\(4, 8, 8\)"):
        ldm(vq_folder, in_channels=4, out_channels=4).encode(images(2), {})


def test_grey_images_are_refused(vq_folder):
    with pytest.raises(ConfigError, match=r"^model\.autoencoder: .*3 channels.*got 1"):
        ldm(vq_folder).encode(images()[:, :1], {})


def test_another_network_is_no_autoencoder(tmp_path):
    tiny.unconditional_unet().save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match=r"^model\.autoencoder: .*VQModel or AutoencoderKL, got U"
    ):
        ldm(tmp_path).encode(images(), {})


def test_a_missing_autoencoder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^model\.autoencoder: .*nowhere"):
        ldm(tmp_path / "nowhere").encode(images(), {})


@pytest.mark.parametrize("key", ["scaling", "batch_size"])
def test_impossible_numbers_name_the_key(key):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: expected a positive number, got 0"):
        ldm("anywhere", **{key: 0})


def test_a_published_pipeline_gives_unet_noise_and_autoencoder(tmp_path):
    folder = str(tiny.ldm_folder(tmp_path))
    model = LDM(None, None, folder, 1.0, False, 2, folder, None)
    assert set(model.assets()) == {"pretrained", "autoencoder"}
    weights, expected = (
        network.state_dict() for network in (model.untrained(0), tiny.unconditional_unet())
    )
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert model.noise_scheduler().config.beta_schedule == "scaled_linear"
    assert model.encode(images(), {"label": np.zeros(5)}).latents.shape == (
        5,
        *model.latent_shape(),
    )


def test_the_denoiser_is_saved_and_loaded(tmp_path):
    model = ldm("anywhere")
    denoiser = model.untrained(0)
    model.save(tmp_path, denoiser, "denoiser")
    loaded = model.load(tmp_path, "denoiser").state_dict()
    assert all(torch.equal(loaded[name], t) for name, t in denoiser.state_dict().items())
    assert denoiser(**model.example_inputs(denoiser)).sample.shape == (1, 3, 8, 8)


def test_files_in_the_older_names_of_attention_are_read(vq_folder):
    path = vq_folder / "diffusion_pytorch_model.safetensors"
    expected = ldm(vq_folder).encode(images(), {}).latents
    pretrained.forget()
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(path)
    for new, old in older.items():
        weights = {name.replace(f".{new}.", f".{old}."): t for name, t in weights.items()}
    assert any(".proj_attn." in name for name in weights)
    path.unlink()
    torch.save(weights, path.with_suffix(".bin"))
    assert torch.equal(ldm(vq_folder).encode(images(), {}).latents, expected)
