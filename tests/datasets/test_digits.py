import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from crediting.datasets import Digits
from crediting.errors import ConfigError


def test_every_pixel_is_the_stretched_grey_level():
    digits = Digits(1297)
    images = torch.cat([digits.training_images(), digits.reference_images()])
    levels = load_digits().images.astype(int)
    stretched = [round(255 * level / 16) for level in range(17)]
    assert images.dtype == torch.uint8
    assert images.shape == (1797, 1, 8, 8)
    assert np.array_equal(images[:, 0].numpy(), np.array(stretched)[levels])


def test_the_split_is_by_order():
    digits = Digits(1297)
    target = load_digits().target
    assert len(digits.training_images()) == 1297
    assert len(digits.reference_images()) == 500
    assert digits.columns()["label"].tolist() == [f"digit_{label}" for label in target[:1297]]
    assert np.array_equal(digits.reference_labels(), target[1297:])
    assert digits.reference_labels().dtype == np.int64


def test_what_is_handed_out_may_be_changed():
    digits = Digits(1297)
    before = digits.digest()
    digits.training_images().zero_()
    digits.reference_images().zero_()
    digits.reference_labels()[:] = 0
    assert digits.digest() == before == Digits(1297).digest()
    assert digits.reference_labels().any()


def test_the_digest_depends_on_the_split():
    assert len({Digits(n).digest() for n in (1, 1296, 1297)}) == 3


def test_the_digest_is_of_pixels_labels_and_split():
    levels, target = load_digits().images, load_digits().target
    sha = hashlib.sha256(b"digits 1297")
    sha.update(np.array([round(255 * v / 16) for v in levels.ravel()], dtype=np.uint8).tobytes())
    sha.update(target.astype("<i8").tobytes())
    assert Digits(1297).digest() == sha.hexdigest()


@pytest.mark.slow
def test_the_digest_is_the_same_in_another_process():
    script = "from crediting.datasets import Digits; print(Digits(1297).digest())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == Digits(1297).digest()


@pytest.mark.parametrize("train", [-1, 0, 1797, 5000])
def test_a_split_that_leaves_nothing_is_refused(train):
    with pytest.raises(ConfigError, match=rf"dataset\.train: .* between 1 and 1796.*got {train}"):
        Digits(train)
