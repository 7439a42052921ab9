import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from crediting.datasets import Digits, DigitsPlanted
from crediting.errors import ConfigError
from crediting.game.coalition import all_coalitions
from crediting.game.enumeration import shapley_values

HELD = {"plain": 3, "original": 3, "unique": 4, "nothing_new": 2, "copy": 3, "noise": 3}
"""How many digits' worth of images each contributor holds."""
DESERVED = {
    "plain": 5 / 2,
    "original": 4 / 3,
    "unique": 4,
    "nothing_new": 5 / 6,
    "copy": 4 / 3,
    "noise": 0,
}


@pytest.fixture(scope="module")
def planted():
    return DigitsPlanted(1297, 40, seed=3)


@pytest.fixture(scope="module")
def digit_of():
    """Return the digit of each handwritten image by its pixels."""
    pictures = load_digits()
    levels = [round(255 * level / 16) for level in range(17)]
    stretched = np.array(levels, dtype=np.uint8)[pictures.images.astype(int)]
    return {
        image.tobytes(): int(digit) for image, digit in zip(stretched, pictures.target, strict=True)
    }


def held_by(planted) -> dict[str, list[bytes]]:
    images = planted.training_images().numpy()
    names = planted.columns()["contributor"]
    return {str(n): [image.tobytes() for image in images[names == n]] for n in np.unique(names)}


def test_everybody_holds_as_many_images_of_each_of_its_digits(planted, digit_of):
    held = held_by(planted)
    assert {name: len(images) for name, images in held.items()} == {
        name: 40 * digits for name, digits in HELD.items()
    }
    for name in set(HELD) - {"noise"}:
        digits = np.bincount([digit_of[image] for image in held[name]], minlength=10)
        assert sorted(set(digits)) == [0, 40]
        assert len(set(held[name])) == len(held[name])


def test_the_images_of_a_digit_are_the_first_ones(planted):
    digits = Digits(1297)
    zeros = digits.training_images()[torch.from_numpy(digits.columns()["label"] == "digit_0")]
    assert torch.equal(planted.training_images()[:40], zeros[:40])  # `plain` begins with them


def test_copy_holds_the_images_of_original_and_no_others(planted):
    held = held_by(planted)
    assert held["copy"] == held["original"]


def test_nothing_new_holds_only_what_two_others_hold(planted):
    held = {name: set(images) for name, images in held_by(planted).items()}
    assert held["nothing_new"] < held["plain"] | held["original"]
    assert held["nothing_new"] & held["plain"]
    assert held["nothing_new"] & held["original"]


def test_only_unique_holds_any_image_of_its_digits(planted, digit_of):
    held = held_by(planted)
    own = {digit_of[image] for image in held.pop("unique")}
    del held["noise"]
    assert own.isdisjoint(digit_of[image] for images in held.values() for image in images)


def test_noise_is_uniform_and_no_handwriting(planted, digit_of):
    noise = held_by(planted)["noise"]
    assert not set(noise) & set(digit_of)
    pixels = np.frombuffer(b"".join(noise), dtype=np.uint8)
    assert abs(pixels.mean() - 127.5) < 4 * np.sqrt((256**2 - 1) / 12 / len(pixels))
    assert set(pixels) == set(range(256))


def test_credits_in_a_game_that_counts_digits_are_those_promised(planted, digit_of):
    """v(S) = the number of digits of which somebody in S holds images."""
    digits = [
        {digit_of.get(image) for image in images} - {None} for images in held_by(planted).values()
    ]
    covered = [
        float(len(set().union(*(digits[player] for player in np.flatnonzero(row)))))
        for row in all_coalitions(6)
    ]
    values = dict(zip(held_by(planted), shapley_values(np.array(covered)), strict=True))
    assert values == pytest.approx(DESERVED)


def test_the_reference_is_that_of_the_digits(planted):
    digits = Digits(1297)
    assert planted.reference_images().equal(digits.reference_images())
    np.testing.assert_array_equal(planted.reference_labels(), digits.reference_labels())


def test_the_digest_depends_on_every_argument():
    made = [(1297, 40, 3), (1296, 40, 3), (1297, 39, 3), (1297, 40, 4)]
    assert len({DigitsPlanted(*arguments).digest() for arguments in made}) == 4
    assert DigitsPlanted(*made[0]).digest() == DigitsPlanted(*made[0]).digest()


def test_only_the_noise_depends_on_the_seed(planted):
    one, other = held_by(planted), held_by(DigitsPlanted(1297, 40, seed=4))
    assert not set(one.pop("noise")) & set(other.pop("noise"))
    assert one == other


def test_what_is_handed_out_may_be_changed():
    planted = DigitsPlanted(1297, 10, seed=0)
    before = planted.training_images()
    planted.training_images().zero_()
    planted.columns()["contributor"][:] = "me"
    assert planted.training_images().equal(before)
    assert set(planted.columns()["contributor"]) == set(HELD)


@pytest.mark.parametrize("images", [-1, 0, 129])
def test_more_images_than_there_are_of_a_digit_are_refused(images):
    fewest = np.bincount(load_digits().target[:1297]).min()
    assert fewest < 129
    message = rf"dataset\.images: expected between 1 and {fewest},.* got {images}"
    with pytest.raises(ConfigError, match=message):
        DigitsPlanted(1297, images, seed=0)


def test_a_split_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"dataset\.train"):
        DigitsPlanted(1797, 10, seed=0)
