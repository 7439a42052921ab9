"""What is missing, damaged or hostile among data and weights: one message, and nothing is run."""

import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from credit_forks import nothing_was_trained, the_only_message

pytestmark = pytest.mark.slow

# ------------------------------------------------------------------------------ missing

NEEDED = {
    "cifar_ddpm": {
        "dataset.root": ("cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "169 MB", "none stated"),
        "extractor.clean_fid.weights": ("nvlabs-fi-cdn.nvidia.com", "96 MB", "Apache-2.0"),
        "extractor.inception_v3.weights": ("download.pytorch.org", "109 MB", "BSD-3-Clause"),
    },
    "celeba_ldm": {
        "dataset.root": ("github.com/ndb796/LatentHSJA", "527 MB", "non-commercial research"),
        "model.autoencoder": ("huggingface.co/CompVis/ldm-celebahq-256", "221 MB", "Apache-2.0"),
        "extractor.blip_vqa.weights": (
            *("huggingface.co/Salesforce/blip-vqa-base", "1.5 GB", "BSD-3-Clause"),
        ),
    },
    "artbench_sd_lora": {
        "dataset.root": ("artbench.eecs.berkeley.edu", "2.0 GB", "fair use"),
        "model.pretrained": ("huggingface.co/lambda/miniSD-diffusers", "4.3 GB", "OpenRAIL-M"),
        "extractor.aesthetic.weights": (
            *("huggingface.co/openai/clip-vit-large-patch14", "1.7 GB", "MIT"),
        ),
        "extractor.aesthetic.head": ("github.com/LAION-AI/aesthetic-predictor", "4 kB", "MIT"),
    },
}


def told_by_key(message):
    """Return what a message says of each key, in its order."""
    points = [line[2:] for line in message.splitlines() if line.startswith("- ")]
    return {point.partition(": ")[0]: point for point in points}


@pytest.mark.parametrize("experiment", NEEDED)
def test_everything_missing_is_named_at_once(experiment, credit, tmp_path):
    words = [f"+experiment={experiment}", "seed=3", "name=a name"]
    message = the_only_message(credit(words, cwd=tmp_path))
    told = told_by_key(message)
    assert [*told] == [*NEEDED[experiment]]
    for key, facts in NEEDED[experiment].items():
        assert [fact for fact in facts if fact not in told[key]] == []
        assert f"{key}=<" in told[key], "no place of one's own is offered"
    fetching = f"  credit stage=fetch +experiment={experiment} seed=3 'name=a name'"
    assert message.splitlines()[-1] == fetching
    assert the_only_message(credit(words, "dry_run=true", cwd=tmp_path)) == message
    assert [*tmp_path.iterdir()] == [], "something was left behind"


def test_miniature_files_that_are_missing_are_said_to_be_made(credit, tmp_path):
    words = ("+size=miniature", "+experiment=celeba_ldm")
    message = the_only_message(credit(words, cwd=tmp_path))
    assert [*told_by_key(message)] == [*NEEDED["celeba_ldm"]]
    *_, whose, last = message.splitlines()
    assert whose.startswith("Those that +size=miniature names are made")
    assert last == "  python scripts/miniature_files.py"
    assert (Path(__file__).parents[2] / last.split()[1]).is_file()
    sweep = credit("-m", words, "seed=0", cwd=tmp_path)
    assert sweep.stderr.splitlines()[-1] == last


def test_ones_own_folder_is_missed_together_with_the_weights(credit, tmp_path):
    words = ["+experiment=image_folder", "dataset.root=photos"]
    told = told_by_key(the_only_message(credit(words, cwd=tmp_path)))
    assert [*told] == ["dataset.root", "extractor.inception_v3.weights"]
    assert f"there is no folder {tmp_path}/photos" in told["dataset.root"]
    finished = credit("stage=fetch", "dry_run=true", words, cwd=tmp_path)
    (row,) = (line for line in finished.stderr.splitlines() if line.startswith("your images"))
    assert " missing " in row
    (tmp_path / "photos").mkdir()
    told = told_by_key(the_only_message(credit(words, cwd=tmp_path)))
    assert [*told] == ["extractor.inception_v3.weights"]


def test_a_command_started_afresh_says_the_same(credit, cut_off, run_credit, tmp_path):
    words = ("+experiment=cifar_ddpm", "model.pretrained=google/ddpm-cifar10-32")
    message = the_only_message(run_credit(*words, cwd=tmp_path, env=cut_off))
    assert [*told_by_key(message)] == [
        *("dataset.root", "model.pretrained"),
        *("extractor.clean_fid.weights", "extractor.inception_v3.weights"),
    ]
    assert message == the_only_message(credit(*words, cwd=tmp_path))


@pytest.mark.parametrize("experiment", ["cifar_ddpm", "celeba_ldm"])
def test_what_cannot_be_fetched_is_listed_first_and_told_in_the_end(experiment, credit, tmp_path):
    finished = credit("stage=fetch", f"+experiment={experiment}", cwd=tmp_path)
    failed = told_by_key(the_only_message(finished))
    needed = NEEDED[experiment]
    assert [*failed] == [*needed]
    head, *rows = finished.stderr.splitlines()[: len(needed) + 1]
    assert head.split() == ["what", "size", "licence", "state", "source"]
    for row, (source, size, licence) in zip(rows, needed.values(), strict=True):
        assert [fact for fact in (source, size, licence) if fact not in row] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ------------------------------------------------------------------------------ weights


class Armed:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self._folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self._folder,)


@pytest.fixture
def fired(tmp_path):
    """The folder that is there if any code of a hostile file was run."""
    return tmp_path / "fired"


@pytest.fixture
def place(published, tmp_path):
    """A folder to run in, with the miniature files, and copies of those that a test spoils."""
    (tmp_path / "miniature").symlink_to(published / "miniature")
    return tmp_path


def copied(place, name):
    return shutil.copytree(place / "miniature" / name, place / "mine", symlinks=True)


def cut_short(file):
    file.write_bytes(file.read_bytes()[:5000])


def altered(file, **settings):
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


CIFAR = (
    *("+experiment=cifar_ddpm", "+size=miniature"),
    *("~extractor.inception_v3", "~property.inception_score"),
)
LOOKS = ("stage=extract", "dataset=digits", "partition=by_label")
"""The digits, looked at by whatever extractor is named beside."""

UNDEFINED = "division" if sys.version_info >= (3, 14) else "integer modulo"
UNETS = {
    "a folder of something else": (
        shutil.rmtree,
        "it lacks unet/config.json or config.json, unet/diffusion_pytorch_model.",
    ),
    "no weights": (
        lambda unet: (unet / "diffusion_pytorch_model.safetensors").unlink(),
        "it lacks unet/diffusion_pytorch_model.",
    ),
    "weights cut short": (
        lambda unet: cut_short(unet / "diffusion_pytorch_model.safetensors"),
        "cannot be read (Unable to load weights",
    ),
    "weights of another architecture": (
        lambda unet: altered(unet / "config.json", layers_per_block=3),
        "cannot be read (Cannot load because",
    ),
    "a description of nothing": (
        lambda unet: altered(unet / "config.json", norm_num_groups=0),
        f"cannot be read ({UNDEFINED} by zero)",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), UNETS.values(), ids=UNETS)
def test_a_pretrained_model_that_cannot_be_used(spoil, reason, credit, place):
    spoil(copied(place, "models/ddpm-32") / "unet")
    chosen = ("model.pretrained=mine", "model.unet=null", "model.noise=null")
    message = the_only_message(credit(CIFAR, chosen, cwd=place))
    assert "model.pretrained: " in message
    assert "mine" in message
    assert reason in message
    assert "ignore_mismatched_sizes" not in message
    assert not [*place.glob("outputs/store/model-*/*.safetensors")], "something was trained"


@pytest.fixture
def inceptions(tmp_path, fired):
    """Files that might be taken for the weights of Inception-v3."""
    pickle.loads(pickle.dumps(Armed(fired)))
    fired.rmdir()  # it does fire, unless it is kept from it
    torch.save({"fc.weight": Armed(fired)}, tmp_path / "hostile.pth")
    (tmp_path / "hostile_and_bare.pth").write_bytes(pickle.dumps(Armed(fired)))
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>Not found</html>")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "another.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    torch.save({"fc.weight": torch.zeros(9000)}, tmp_path / "cut.pth")
    cut_short(tmp_path / "cut.pth")
    return {
        "hostile.pth": "is no complete file of weights",
        "hostile_and_bare.pth": "is no complete file of weights",
        "page.pth": "is no complete file of weights",
        "another.pth": "holds the weights of another network",
        "numbers.pth": "expected numbers.pth to hold tensors by name, and nothing else",
        "cut.pth": "is no complete file of weights",
    }


def test_files_that_are_no_weights_of_an_extractor(inceptions, fired, credit, tmp_path):
    looks = (*LOOKS, "extractor=[inception_v3]", "property=[inception_score]")
    for name, reason in inceptions.items():
        chosen = f"extractor.inception_v3.weights={name}"
        message = the_only_message(credit(looks, chosen, cwd=tmp_path))
        assert message.startswith("credit: extractor.inception_v3.weights: ")
        assert name in message
        assert reason in message
        assert "weights_only" not in message, "it advises to read the file in an unsafe way"
    assert not fired.exists()


def test_files_that_are_not_the_inception_of_fid(inceptions, fired, credit, place):
    looks = (*CIFAR, "stage=extract")
    pinned = "extractor.clean_fid.sha256=" + 64 * "0"
    message = the_only_message(credit(looks, pinned, cwd=place))
    assert f"inception-2015-12-05.pt is not the published file: expected sha256 {64 * '0'}" in (
        message
    )
    for name in ("page.pth", "hostile.pth"):
        chosen = f"extractor.clean_fid.weights={name}"
        message = the_only_message(credit(looks, chosen, cwd=place))
        assert f"extractor.clean_fid.weights: {name} is no complete file of weights" in message
    assert inceptions
    assert not fired.exists()


@pytest.mark.parametrize(
    ("file", "settings", "reason"),
    [
        ("config.json", {"vision_config": {"hidden_size": "wide"}}, "describes no network"),
        ("config.json", {"vision_config": {"num_attention_heads": 0}}, "describes no network"),
        ("preprocessor_config.json", {"size": {"height": 0, "width": 0}}, "does not say how"),
    ],
)
def test_settings_of_an_extractor_that_make_no_sense(file, settings, reason, credit, place):
    altered(copied(place, "models/blip-vqa-base") / file, **settings)
    chosen = ("extractor=[blip_vqa]", "property=[kid]", "extractor.blip_vqa.weights=mine")
    message = the_only_message(credit(LOOKS, chosen, cwd=place))
    assert message.startswith("credit: extractor.blip_vqa.weights: ")
    assert f"mine/{file}" in message
    assert reason in message


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("vae/config.json", {"latent_channels": None}),
        ("text_encoder/config.json", {"num_attention_heads": 5}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "none"}),
    ],
)
def test_a_pipeline_whose_settings_make_no_sense(file, settings, credit, place):
    altered(copied(place, "models/miniSD-diffusers") / file, **settings)
    words = ("+experiment=artbench_sd_lora", "+size=miniature", "model.pretrained=mine")
    message = the_only_message(credit(words, cwd=place))
    assert message.startswith("credit: model.pretrained: mine/")
    assert file.split("/")[0] in message
    assert not [*place.glob("outputs/store/model-*/*.safetensors")], "something was trained"


# ------------------------------------------------------------------------------ CIFAR's pickles


def hostile(fired):
    return pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "fine_labels": Armed(fired)}, 2)


CIFARS = {
    "another file": ((), "train", "checksums=true", "expected the published file, md5 "),
    "a hostile file": (hostile, "train", "checksums=false", "it asks for posix.mkdir"),
    "hostile class names": (hostile, "meta", "checksums=false", "it asks for posix.mkdir"),
    "a page for the test set": (
        *(lambda fired: b"<html>", "test", "checksums=false", "it is damaged"),
    ),
}


@pytest.mark.parametrize(("write", "name", "checksums", "reason"), CIFARS.values(), ids=CIFARS)
def test_files_of_cifar(write, name, checksums, reason, credit, place, fired):
    folder = copied(place, "data") / "cifar-100-python"
    if write:
        (folder / name).write_bytes(write(fired))
    chosen = ("dataset.root=mine", f"dataset.{checksums}")
    message = the_only_message(credit(CIFAR, chosen, cwd=place))
    assert str(folder) in message
    assert reason in message
    assert not fired.exists()
    assert nothing_was_trained(place / "outputs")
