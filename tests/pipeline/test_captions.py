"""Which captions are drawn where a dataset has more of them than images are generated."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from crediting.pipeline.prompts import prompts_of

OWNERS = ["ada"] * 60 + ["bo"] * 40 + ["cy"] * 40
CAPTIONS = [f"{owner}'s photograph {number}" for number, owner in enumerate(OWNERS)]


def drawn(images, captions=CAPTIONS):
    return prompts_of(
        SimpleNamespace(
            generation=SimpleNamespace(prompts="captions", images=images),
            dataset=SimpleNamespace(columns=lambda: {"caption": np.array(captions)}),
        )
    )


@pytest.mark.parametrize("images", [14, 50, 100])
def test_every_contributor_has_its_share_of_the_captions(images):
    counts = Counter(prompt.split("'")[0] for prompt in drawn(images))
    for owner, examples in Counter(OWNERS).items():
        assert abs(counts[owner] - images * examples / len(OWNERS)) < 3


def test_no_caption_is_drawn_twice_and_fewer_images_show_the_first_of_more():
    most = drawn(140)
    assert sorted(most) == sorted(CAPTIONS)
    assert drawn(1000) == most
    assert all(drawn(images) == most[:images] for images in (1, 2, 50, 139))


def test_a_caption_that_many_images_have_is_one_prompt():
    assert sorted(drawn(9, ["a tree", "a cat", "a tree", "a tree"])) == ["a cat", "a tree"]
    assert drawn(9, ["a tree"] * 5) == ["a tree"]
