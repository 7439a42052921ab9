"""Starting from a published U-Net: which folders are understood, and what they must agree with."""

import json
import pickle
import re
import sys

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    ScoreSdeVeScheduler,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file
from tiny_networks import unconditional_unet

from crediting.assets.messages import NotFetchedError
from crediting.errors import ConfigError, DataError
from crediting.models import DDPM
from crediting.pruning import Magnitude

NOISE = {"num_train_timesteps": 100, "beta_start": 2e-4}


def scheduler():
    return DDPMScheduler(**NOISE)


@pytest.fixture
def pipeline(tmp_path):
    """A folder with `unet/` and `scheduler/`."""
    DDPMPipeline(unconditional_unet(), scheduler()).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    """A folder with the files of both side by side, as some repositories on the hub have them."""
    unconditional_unet().save_pretrained(tmp_path)
    scheduler().save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def bare(tmp_path):
    """A folder with a U-Net only."""
    unconditional_unet().save_pretrained(tmp_path)
    return tmp_path


def ddpm(folder, unet=None, noise=None):
    return DDPM(unet, noise, str(folder), None)


def weights_equal(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_published_repository_is_not_complete_without_its_scheduler(bare, monkeypatch):
    """It is known to have one; of any other, noise of the config may belong to a bare U-Net."""
    published, _, _ = DDPM.published
    asset = ddpm(published).assets()["pretrained"]
    monkeypatch.setattr(type(asset), "_snapshot", lambda _: bare)
    with pytest.raises(NotFetchedError):
        asset.find()
    assert ddpm("somebody/else").assets()["pretrained"].find() == bare
    scheduler().save_pretrained(bare)
    assert asset.find() == bare


@pytest.mark.parametrize("layout", ["pipeline", "flat"])
def test_weights_shape_and_noise_are_the_published_ones(layout, request):
    model = ddpm(request.getfixturevalue(layout))
    published = unconditional_unet()
    for seed in (0, 1):
        assert weights_equal(model.untrained(seed), published)
    assert model.latent_shape() == (3, 8, 8)
    noise = model.noise_scheduler()
    assert isinstance(noise, DDPMScheduler)
    assert torch.equal(noise.alphas_cumprod, scheduler().alphas_cumprod)


@pytest.mark.parametrize(
    "scheduler",
    [FlowMatchEulerDiscreteScheduler, EDMEulerScheduler, ScoreSdeVeScheduler],
)
def test_another_noise_process_is_refused(bare, scheduler):
    scheduler().save_pretrained(bare)
    with pytest.raises(ConfigError, match=rf"schedule of betas.* got one of {scheduler.__name__}"):
        ddpm(bare).noise_scheduler()


@pytest.mark.parametrize("key", ["num_class_embeds", "class_embed_type"])
def test_a_denoiser_that_reads_classes_is_refused(key):
    model = DDPM(
        {"sample_size": 8, "in_channels": 3, "out_channels": 3, key: 10}, NOISE, None, None
    )
    with pytest.raises(ConfigError, match=rf"^model\.unet\.{key}: expected null"):
        model.latent_shape()


def test_what_is_random_and_never_trained_stays_in_the_untrained_twin():
    changes = {"block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1}
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    model = DDPM({**changes, **blocks, "time_embedding_type": "fourier"}, NOISE, None, None)
    denoiser = model.untrained(0)
    twin = model.reinitialise(denoiser, 1)
    assert torch.equal(twin.time_proj.weight, denoiser.time_proj.weight)
    assert not torch.equal(twin.conv_in.weight, denoiser.conv_in.weight)


def test_the_output_is_that_of_the_pipeline_to_the_last_bit(pipeline):
    model = ddpm(pipeline)
    denoiser = model.untrained(0)
    points = torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8)
    steps = torch.tensor([3, 70])
    assert torch.equal(denoiser(points, steps).sample, unconditional_unet()(points, steps).sample)
    parameters = list(denoiser.parameters())
    assert all(p.requires_grad and p.data_ptr() % 64 == 0 for p in parameters)


def test_the_global_stream_is_left_alone(pipeline):
    before = torch.random.get_rng_state()
    ddpm(pipeline).untrained(0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_half_precision_files_become_single_precision(tmp_path):
    unconditional_unet().half().save_pretrained(tmp_path)
    weights = ddpm(tmp_path, noise=NOISE).untrained(0).state_dict()
    expected = unconditional_unet().half().float().state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_files_for_torch_alone_are_read(tmp_path):
    unconditional_unet().save_pretrained(tmp_path, safe_serialization=False)
    assert [p.name for p in tmp_path.glob("*model*")] == ["diffusion_pytorch_model.bin"]
    assert weights_equal(ddpm(tmp_path, noise=NOISE).untrained(0), unconditional_unet())


def test_files_that_would_run_code_are_not_read(bare):
    (bare / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"weights": slice(3), "reader": print}, bare / "diffusion_pytorch_model.bin")
    with pytest.raises(DataError, match=r"^model\.pretrained: .* cannot be read"):
        ddpm(bare, noise=NOISE).untrained(0)


def test_another_scheduler_class_gives_its_forward_process(tmp_path):
    betas = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
    source = DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=False)
    unconditional_unet().save_pretrained(tmp_path / "unet")
    source.save_pretrained(tmp_path / "scheduler")
    noise = ddpm(tmp_path).noise_scheduler()
    assert torch.equal(noise.alphas_cumprod, source.alphas_cumprod)
    assert not noise.config.clip_sample


def test_settings_that_agree_may_be_given(pipeline):
    unet = {"block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "AttnDownBlock2D"]}
    model = ddpm(pipeline, unet, NOISE)
    assert weights_equal(model.untrained(0), unconditional_unet())
    assert model.noise_scheduler().config.num_train_timesteps == 100


@pytest.mark.parametrize(
    ("unet", "key"),
    [({"block_out_channels": [8, 32]}, "block_out_channels"), ({"depth": 3}, "depth")],
)
def test_settings_of_the_unet_that_do_not_agree_are_refused(pipeline, unet, key):
    reason = rf"^model\.unet\.{key}: expected .* as in model\.pretrained, got .*model\.unet=null"
    with pytest.raises(ConfigError, match=reason):
        ddpm(pipeline, unet).untrained(0)


def test_noise_that_does_not_agree_is_refused(pipeline):
    reason = r"^model\.noise\.beta_start: expected 0\.0002 .*got 0\.1; set model\.noise=null"
    with pytest.raises(ConfigError, match=reason):
        ddpm(pipeline, noise={"beta_start": 0.1}).noise_scheduler()


def test_a_bare_unet_needs_the_noise(bare):
    assert ddpm(bare, noise=NOISE).noise_scheduler().config.beta_start == 2e-4
    with pytest.raises(ConfigError, match=r"^model\.noise: .*holds no scheduler; give them"):
        ddpm(bare).noise_scheduler()


def test_reinitialising_restores_the_published_weights(pipeline):
    model = ddpm(pipeline)
    trained = model.untrained(0)
    for parameter in trained.parameters():
        parameter.data.add_(1)
    fresh = model.reinitialise(trained, 5)
    assert weights_equal(fresh, unconditional_unet())
    assert not weights_equal(fresh, trained)


def test_a_pruned_one_has_no_untrained_twin(pipeline):
    model = ddpm(pipeline)
    pruned, _ = Magnitude(0.5, None).prune(model.untrained(0), model, None)
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*endpoints=dense.*pruning=none"):
        model.reinitialise(pruned, 0)


def test_it_stays_picklable_and_names_what_it_needs(pipeline):
    model = pickle.loads(pickle.dumps(ddpm(pipeline)))
    assert model.assets().keys() == {"pretrained"}
    assert model.assets()["pretrained"].find() == pipeline
    assert weights_equal(model.untrained(0), unconditional_unet())


def test_what_it_needs_changes_with_weights_and_noise_only(pipeline):
    asset = ddpm(pipeline).assets()["pretrained"]
    before = asset.digest()
    (pipeline / "README.md").write_text("words")
    assert asset.digest() == before
    (pipeline / "scheduler" / "scheduler_config.json").write_text("{}")
    assert asset.digest() != before


# ------------------------------------------------------------------------------ damage


def test_a_folder_that_is_not_there_is_named(tmp_path):
    folder = tmp_path / "nowhere"
    with pytest.raises(DataError, match=rf"^model\.pretrained: .*{re.escape(str(folder))}"):
        ddpm(folder).untrained(0)


def test_a_folder_without_a_unet_is_named(tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    (tmp_path / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"^model\.pretrained: .*unet/config\.json or config\.json"):
        ddpm(tmp_path).untrained(0)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_config_is_named(bare, content):
    (bare / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"^model\.pretrained: .*config\.json .*fetch it again"):
        ddpm(bare, noise=NOISE).untrained(0)


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_truncated_weights_are_named(bare, keep):
    path = bare / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"^model\.pretrained: .* cannot be read .*fetch it again"):
        ddpm(bare, noise=NOISE).untrained(0)


def test_missing_tensors_are_not_made_up(bare):
    path = bare / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_in.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"1 tensors are not there, the first is conv_in\.bias"):
        ddpm(bare, noise=NOISE).untrained(0)


def test_tensors_of_another_shape_are_not_replaced(bare):
    path = bare / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "block_out_channels": [16, 16]}))
    with pytest.raises(DataError, match=r"^model\.pretrained: .* cannot be read"):
        ddpm(bare, noise=NOISE).untrained(0)


def test_settings_of_no_network_are_refused(bare):
    path = bare / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "norm_num_groups": 0}))
    undefined = "division" if sys.version_info >= (3, 14) else "integer modulo"
    with pytest.raises(DataError, match=rf"cannot be read \({undefined} by zero\)"):
        ddpm(bare, noise=NOISE).untrained(0)


def test_a_network_of_another_class_is_refused(bare):
    path = bare / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "_class_name": "UNet1DModel"}))
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*UNet2DModel, got UNet1DModel"):
        ddpm(bare, noise=NOISE).untrained(0)


@pytest.mark.parametrize(
    ("architectures", "told"), [(None, "none"), ([], "none"), (["CLIP", "UNet1DModel"], "CLIP, UN")]
)
def test_a_network_of_no_known_class_is_refused(bare, architectures, told):
    path = bare / "config.json"
    settings = json.loads(path.read_text()) | {"architectures": architectures}
    del settings["_class_name"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=rf"^model\.pretrained: .*UNet2DModel, got {told}"):
        ddpm(bare, noise=NOISE).untrained(0)


def test_noise_that_is_no_share_of_the_image_is_refused(pipeline):
    path = pipeline / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_train_timesteps": 0}))
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*scheduler_config.* 0 to 1"):
        ddpm(pipeline).noise_scheduler()


def test_the_tiny_unet_is_of_the_real_class(pipeline):
    assert isinstance(ddpm(pipeline).untrained(0), UNet2DModel)
