import csv
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    VQModel,
)
from PIL import Image
from pyarrow import parquet
from torch import nn
from torch.nn import functional as F
from torchvision.datasets import CIFAR100
from torchvision.models import inception_v3
from transformers import (
    BlipForQuestionAnswering,
    BlipImageProcessor,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
)

SCRIPT = Path(__file__).parent.parent / "scripts" / "miniature_files.py"
KEPT = (
    "lamp lawn_mower leopard lion lizard otter palm_tree pear pickup_truck pine_tree plain plate "
    "poppy porcupine possum squirrel streetcar sunflower sweet_pepper table"
)
# superclass of each of the 100 classes, as the published files have them
COARSE = (
    "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 "
    "12 14 16 9 11 5 5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 "
    "9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
)
PROMPT = "a Post-Impressionist painting"


def script():
    spec = importlib.util.spec_from_file_location("miniature_files", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature")
    state = torch.get_rng_state()
    script().write(folder)
    assert torch.equal(torch.get_rng_state(), state)
    yield folder
    shutil.rmtree(folder)  # pytest would keep 76 MB of each of the last three runs


@pytest.fixture(scope="module")
def cifar(folder):
    """What torchvision reads, less its check that the files are the published ones."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CIFAR100, "_check_integrity", lambda self: True)
        patch.setitem(CIFAR100.meta, "md5", None)
        return [CIFAR100(folder / "data", train=train) for train in (True, False)]


@pytest.fixture(scope="module")
def models(folder):
    return folder / "models"


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pictures(files):
    return np.stack([np.asarray(Image.open(file).convert("RGB"), dtype=float) for file in files])


def separation(images, groups):
    """Return how far group means scatter, as a share of all scatter: below 0.2 for mere noise."""
    groups = np.asarray(groups)
    means = np.stack([images[groups == group].mean(axis=0) for group in groups])
    return means.var(axis=0).sum() / images.var(axis=0).sum()


# ------------------------------------------------------------------------------ the script


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(folder, tmp_path):
    subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        env={**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    assert digests(tmp_path) == digests(folder)


def test_the_marker_lists_what_was_written(folder):
    listed = json.loads((folder / "miniature.json").read_text())
    for name, told in listed.items():
        path = folder / name
        files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
        assert told == {"bytes": sum(file.stat().st_size for file in files)}
    for part in ("data", "models"):
        assert {f"{part}/{path.name}" for path in (folder / part).iterdir()} <= set(listed)


def test_what_is_there_is_kept_and_what_is_missing_written(tmp_path, monkeypatch):
    module = script()
    calls = []
    pieces = {"data/a": "A", "data/b": "B", "models/c": "C"}

    def maker(name):
        return lambda path: (calls.append(name), path.write_text(name))

    monkeypatch.setattr(module, "PIECES", {name: maker(text) for name, text in pieces.items()})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("of the user")
    module.write(tmp_path)
    assert calls == ["B", "C"]
    module.write(tmp_path)
    assert calls == ["B", "C"]
    (tmp_path / "data" / "b").unlink()
    (tmp_path / "models" / "c").write_text("spoilt")
    module.write(tmp_path)
    assert calls == ["B", "C", "B"]
    module.write(tmp_path, force=True)
    assert calls == ["B", "C", "B", "B", "C"]
    assert (tmp_path / "models" / "c").read_text() == "C"
    assert (tmp_path / "data" / "a").read_text() == "of the user"
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["a", "b"]


def test_the_large_weights_can_be_left_out(tmp_path, monkeypatch):
    module = script()
    pieces = ("models/inception_v3_google-0cc3c7bd.pth", "models/other")
    monkeypatch.setattr(module, "PIECES", dict.fromkeys(pieces, Path.touch))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path), "--no-inception"])
    module.main()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["other"]


def test_a_piece_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    module = script()

    def fail(path):
        path.write_text("half")
        raise RuntimeError("cut off")

    monkeypatch.setattr(module, "PIECES", {"data/a": fail})
    with pytest.raises(RuntimeError, match="cut off"):
        module.write(tmp_path)
    assert [*(tmp_path / "data").iterdir()] == []


def test_the_command_says_what_to_try(folder, monkeypatch, capsys):
    before = digests(folder)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder)])
    script().main()
    said = capsys.readouterr().out
    for experiment in ("cifar_ddpm", "celeba_ldm", "artbench_sd_lora", "image_folder"):
        assert f"credit +experiment={experiment} +size=miniature\n" in said
    assert said.endswith("where it lies at miniature, or at other paths that you name.\n")
    assert digests(folder) == before


# ------------------------------------------------------------------------------ data


def test_torchvision_reads_cifar(cifar):
    for part in cifar:
        assert part.classes == sorted(part.classes)
        assert len(set(part.classes)) == 100
        assert part.data.dtype == np.uint8
        assert part.data.shape == (len(part.targets), 32, 32, 3)
        numbers = Counter(part.classes[label] for label in part.targets)
        assert sorted(name for name, count in numbers.items() if count > 2) == KEPT.split()
        assert {numbers[name] for name in KEPT.split()} == {4}
        kept = np.array([numbers[part.classes[label]] > 2 for label in part.targets])
        assert separation(part.data[kept].astype(float), np.array(part.targets)[kept]) > 0.4
    images = np.concatenate([part.data for part in cifar]).reshape(-1, 3072)
    assert len(np.unique(images, axis=0)) == len(images)


def test_cifar_is_pickled_by_python_2(folder):
    import pickle

    for part, batch in (("train", b"training batch 1 of 1"), ("test", b"testing batch 1 of 1")):
        content = (folder / "data" / "cifar-100-python" / part).read_bytes()
        assert content.startswith(b"\x80\x02}")  # protocol 2, as Python 2.7 wrote it
        found = pickle.loads(content, encoding="bytes")
        names = (b"filenames", b"batch_label", b"fine_labels", b"coarse_labels", b"data")
        assert sorted(found) == sorted(names)
        assert found[b"batch_label"] == batch
        assert all(type(name) is bytes for name in found[b"filenames"])
        assert found[b"data"].shape == (len(found[b"filenames"]), 3072)
        for fine, coarse in zip(found[b"fine_labels"], found[b"coarse_labels"], strict=True):
            assert coarse == int(COARSE.split()[fine])
    meta = (folder / "data" / "cifar-100-python" / "meta").read_bytes()
    assert [len(names) for names in pickle.loads(meta, encoding="bytes").values()] == [100, 20]


def test_celeba_is_listed_file_by_file(folder):
    root = folder / "data" / "celeba_hq_256_50_resized"
    with (root / "labels.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == ["filename", "celeb", "split"]
    assert {row["filename"] for row in rows} == {path.name for path in root.glob("*.jpg")}
    numbers = Counter(row["celeb"] for row in rows)
    assert set(numbers) == {"17", "63", "65", "95", "104", "122"}
    assert set(numbers.values()) == {4, 5, 6}
    assert all(row["filename"].startswith(f"{row['celeb']}_") for row in rows)
    images = pictures(root / row["filename"] for row in rows)
    assert images.shape == (len(rows), 64, 64, 3)
    assert separation(images, [row["celeb"] for row in rows]) > 0.4


def test_reference_faces_form_groups(folder):
    files = sorted((folder / "data" / "celeba_reference").glob("*.jpg"))
    assert len(files) == 40
    assert separation(pictures(files), np.arange(40) // 5) > 0.4


def test_artbench_is_split_by_style_and_artist(folder):
    root = folder / "data" / "artbench-10-imagefolder-split"
    for part, numbers in (("train", {4, 5, 6}), ("test", {2})):
        files = sorted((root / part / "post_impressionism").glob("*.jpg"))
        artists = Counter(path.name.partition("_")[0] for path in files)
        assert set(artists) >= {"paul-gauguin", "moise-kisling"}
        assert len(artists) == 6
        assert set(artists.values()) == numbers
        assert pictures(files).shape == (len(files), 64, 64, 3)
        assert [*(root / part / "impressionism").glob("*.jpg")]


def test_manifests_agree_with_the_photographs(folder):
    data = folder / "data"
    with (data / "photos.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == ["path", "contributor", "caption", "label"]
    assert [json.loads(line) for line in (data / "photos.jsonl").read_text().splitlines()] == rows
    assert parquet.read_table(data / "photos.parquet").to_pylist() == rows
    files = {path for path in (data / "photos").rglob("*") if path.is_file()}
    assert {data / row["path"] for row in rows} == files
    found = defaultdict(set)
    for row in rows:
        path = data / row["path"]
        assert path.parent.name == row["contributor"]
        assert row["label"] in row["caption"]
        with Image.open(path) as image:
            assert image.format == {".jpg": "JPEG"}.get(path.suffix, path.suffix[1:].upper())
            found[row["contributor"]].add((image.format, image.mode, image.size))
    assert len(found) == 4
    assert Counter(row["contributor"] for row in rows) == dict.fromkeys(found, 6)
    for seen in found.values():
        assert {kind for kind, _, _ in seen} == {"PNG", "JPEG", "WEBP"}
        assert {mode for _, mode, _ in seen} == {"RGB", "RGBA", "L"}


# ------------------------------------------------------------------------------ pipelines


def drawn(pipeline, **options):
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    images = pipeline(generator=generator, output_type="np", **options).images
    assert images.std(axis=0).mean() > 0.01  # one image is unlike the next
    return images


@torch.no_grad()
def test_ldm_celebahq(models):
    pipeline = LDMPipeline.from_pretrained(models / "ldm-celebahq-256")
    assert isinstance(pipeline.vqvae, VQModel)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    noise = pipeline.scheduler.config
    assert (noise.beta_start, noise.beta_end) == (0.0015, 0.0195)
    assert (noise.beta_schedule, noise.clip_sample) == ("scaled_linear", False)
    assert pipeline.vqvae.encode(torch.zeros(2, 3, 64, 64)).latents.shape == (2, 3, 16, 16)
    images = drawn(pipeline, batch_size=2, num_inference_steps=1)
    assert images.shape == (2, 64, 64, 3)


@torch.no_grad()
def test_stable_diffusion(models):
    pipeline = StableDiffusionPipeline.from_pretrained(models / "miniSD-diffusers")
    assert isinstance(pipeline.scheduler, PNDMScheduler)
    noise = pipeline.scheduler.config
    assert (noise.beta_start, noise.beta_end) == (0.00085, 0.012)
    assert (noise.beta_schedule, noise.steps_offset) == ("scaled_linear", 1)
    assert (noise.skip_prk_steps, noise.set_alpha_to_one) == (True, False)
    assert isinstance(pipeline.vae, AutoencoderKL)
    assert pipeline.vae.config.scaling_factor == 0.18215
    latents = pipeline.vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean
    unet = pipeline.unet.config
    assert latents.shape == (1, unet.in_channels, unet.sample_size, unet.sample_size)
    blocks = {name.split(".")[0] for name, _ in pipeline.unet.named_modules() if "attn2" in name}
    assert blocks == {"down_blocks", "mid_block", "up_blocks"}
    images = drawn(pipeline, prompt=[PROMPT, "a house"], num_inference_steps=1)
    assert images.shape == (2, 64, 64, 3)


def test_ddpm(models):
    pipeline = DDPMPipeline.from_pretrained(models / "ddpm-32")
    assert isinstance(pipeline.scheduler, DDPMScheduler)
    images = drawn(pipeline, batch_size=2, num_inference_steps=1)
    assert images.shape == (2, 32, 32, 3)


def test_weights_of_pipelines_are_safetensors(models):
    for name in ("ldm-celebahq-256", "miniSD-diffusers", "ddpm-32"):
        parts = {path.parent.name for path in (models / name).glob("*/config.json")}
        assert parts == {path.parent.name for path in (models / name).glob("*/*.safetensors")}
        assert parts
        assert not [*(models / name).rglob("*.bin")]


@pytest.mark.parametrize(
    "place", ["miniSD-diffusers/tokenizer", "clip-vit-large-patch14", "clip-vit-base-patch32"]
)
def test_tokenizers(models, place):
    tokenizer = CLIPTokenizer.from_pretrained(models / place)
    assert tokenizer.model_max_length == 77
    words = [f"{word}</w>" for word in ("a", "post", "-", "impressionist", "painting")]
    assert tokenizer.tokenize(PROMPT) == words
    ids = tokenizer(["zebra é", PROMPT], padding="max_length", return_tensors="pt").input_ids
    assert ids.shape == (2, 77)
    assert (ids[:, 0] == tokenizer.bos_token_id).all()
    assert (ids[:, -1] == tokenizer.eos_token_id).all()
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == "zebra é"


@torch.no_grad()
def test_the_text_encoder_pools_at_the_end_of_the_prompt(models):
    encoder = CLIPTextModel.from_pretrained(models / "miniSD-diffusers" / "text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(models / "miniSD-diffusers" / "tokenizer")
    ids = tokenizer([PROMPT, "a house"], padding="max_length", return_tensors="pt").input_ids
    read = encoder(ids)
    assert read.last_hidden_state.shape == (2, 77, 32)
    ends = [row.tolist().index(tokenizer.eos_token_id) for row in ids]
    torch.testing.assert_close(read.pooler_output, read.last_hidden_state[[0, 1], ends])


# ------------------------------------------------------------------------------ judges


@pytest.fixture(scope="module")
def shown(folder):
    files = sorted((folder / "data" / "celeba_reference").glob("*.jpg"))[::5]
    return [Image.open(file) for file in files]


@torch.no_grad()
def test_blip(models, shown):
    model = BlipForQuestionAnswering.from_pretrained(models / "blip-vqa-base").eval()
    processor = BlipImageProcessor.from_pretrained(models / "blip-vqa-base")
    seen = model.vision_model(processor(shown, return_tensors="pt").pixel_values).pooler_output
    assert seen.shape == (len(shown), 32)
    assert seen.std(dim=0).mean() > 0.1


@pytest.mark.parametrize("name", ["clip-vit-large-patch14", "clip-vit-base-patch32"])
@torch.no_grad()
def test_clip_and_the_aesthetic_head(models, shown, name):
    model = CLIPModel.from_pretrained(models / name).eval()
    processor = CLIPImageProcessor.from_pretrained(models / name)
    tokenizer = CLIPTokenizer.from_pretrained(models / name)
    assert model.config.text_config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer([PROMPT, "a house"], padding=True, return_tensors="pt")
    read = model(**ids, pixel_values=processor(shown, return_tensors="pt").pixel_values)
    assert read.logits_per_image.shape == (len(shown), 2)
    assert read.image_embeds.std(dim=0).mean() > 0.1
    head = nn.Linear(model.config.projection_dim, 1)
    head.load_state_dict(torch.load(models / "sa_0_4_vit_l_14_linear.pth", weights_only=True))
    scores = head(read.image_embeds)
    assert scores.std() > 0.1
    assert ((scores > 0) & (scores < 10)).all()


@torch.no_grad()
def test_torchvisions_inception_tells_images_apart(models, cifar):
    network = inception_v3(weights=None, aux_logits=True, init_weights=False).eval()
    path = models / "inception_v3_google-0cc3c7bd.pth"
    network.load_state_dict(torch.load(path, weights_only=True))
    images = torch.from_numpy(cifar[0].data[:8]).permute(0, 3, 1, 2).float() / 127.5 - 1
    logits = network(F.interpolate(images, size=(160, 160), mode="bilinear"))
    assert logits.isfinite().all()
    shares = logits.softmax(dim=1)
    score = (shares * (shares / shares.mean(dim=0)).log()).sum(dim=1).mean().exp()
    assert 1.1 < score < 8


def test_clean_fids_wrapper_reads_inception_2015(models):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit")
        bare = InceptionV3W(str(models), download=False)
        resizing = InceptionV3W(str(models), download=False, resize_inside=True)
    images = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (3, 3, 299, 299))).float()
    features = bare(images)
    assert features.shape == (3, 2048)
    assert features.std(dim=0).mean() > 0
    torch.testing.assert_close(resizing(images), features)
    assert resizing.base(images).sum(dim=1).allclose(torch.ones(3))
