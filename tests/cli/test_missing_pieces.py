"""What is missing, damaged or hostile among data and weights: one message, and nothing is run."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from credit_forks import nothing_was_trained, the_only_message

pytestmark = pytest.mark.slow

# ------------------------------------------------------------------------------ missing

NEEDED = {
    "cifar_ddpm": {
        "dataset.root": ("cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "169 MB", "none stated"),
        "extractor.inception_v3.weights": ("download.pytorch.org", "109 MB", "BSD-3-Clause"),
        "extractor.clean_fid.weights": ("nvlabs-fi-cdn.nvidia.com", "96 MB", "Apache-2.0"),
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


def test_a_command_started_afresh_says_the_same(credit, cut_off, run_credit, tmp_path):
    words = ("+experiment=cifar_ddpm", "model.pretrained=google/ddpm-cifar10-32")
    message = the_only_message(run_credit(*words, cwd=tmp_path, env=cut_off))
    assert [*told_by_key(message)] == [
        *("dataset.root", "model.pretrained"),
        *("extractor.inception_v3.weights", "extractor.clean_fid.weights"),
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


CIFAR = ("+experiment=cifar_ddpm", "+size=miniature", "extractor=[clean_fid]", "property=[fid]")
ONE_EXTRACTOR = (*CIFAR, "~extractor.inception_v3", "~property.inception_score")
"""""" """"""
