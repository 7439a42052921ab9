from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_material import pixel_features, random_material, reordered

from crediting.baselines import PropertyOfImages, ScoreOfImages
from crediting.errors import ConfigError
from crediting.extractors import Clip
from crediting.interfaces import Features
from crediting.properties import MeanScore


class Sight(torch.nn.Module):
    """Sees two directions in an image, and prompts that are these."""

    def __init__(self):
        super().__init__()
        self.tower = lambda images: images.flatten(1)[:, :2].double()
        self.prompts = torch.eye(2, dtype=torch.float64)


def planned(prompts):
    extractors = {
        "clip": Clip("somewhere", prompts, 8),
        "pixels": SimpleNamespace(gives=("scores")),
    }
    return SimpleNamespace(
        extractors=extractors,
        properties={"clip_score": MeanScore("clip"), "beauty": MeanScore("pixels")},
        readers={"clip_score": "clip", "beauty": "pixels"},
    )


SIZES = (3, 6, 4)
WHOLE = 12  # so often that everybody's images are all repeated equally often


def own_images(material, contributor):
    return material.training[torch.from_numpy(material.contributors == contributor)]


def test_a_property_is_that_of_the_contributors_images():
    material = random_material(SIZES)
    scores = PropertyOfImages(WHOLE).scores(material)
    assert set(scores) == {"brightness", "inception_score", "fid"}
    for i, size in enumerate(SIZES):
        features = pixel_features(own_images(material, i).repeat(WHOLE // size, 1, 1, 1))
        for name, sign in (("brightness", 1), ("inception_score", 1), ("fid", -1)):
            expected = sign * material.measure(name, features)
            assert scores[name][i] == pytest.approx(expected, rel=1e-9)


def test_the_order_of_the_dataset_does_not_matter_where_all_images_are_measured():
    material = random_material(SIZES)
    expected = PropertyOfImages(WHOLE).scores(material)
    for name, scores in PropertyOfImages(WHOLE).scores(reordered(material, 4)).items():
        np.testing.assert_allclose(scores, expected[name], rtol=1e-9)


@pytest.mark.parametrize("images", [1, 4, 7, 20])
def test_everybodys_images_are_drawn_as_often_as_asked_and_as_evenly_as_can_be(images):
    material = random_material(SIZES)
    for i, size in enumerate(SIZES):
        rows = PropertyOfImages(images)._drawn(material, i).numpy()
        assert len(rows) == images
        assert set(material.contributors[rows]) == {i}
        counts = np.bincount(rows)[material.contributors[: rows.max() + 1] == i]
        assert counts.max() - (counts.min() if images >= size else 0) <= 1


def test_the_choice_is_the_seeds():
    material = random_material((30, 30))
    drawn = [PropertyOfImages(5)._drawn(replace(material, seed=s), 0).tolist() for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("aggregate", "function"), [("mean", np.mean), ("max", np.max)])
def test_scores_of_images_are_those_of_the_extractor(aggregate, function):
    material = random_material(SIZES)
    expected = [
        function(own_images(material, i).double().mean(dim=(1, 2, 3)).numpy() / 255)
        for i in range(3)
    ]
    found = ScoreOfImages("pixels", aggregate).scores(material)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    again = ScoreOfImages("pixels", aggregate).scores(reordered(material, 2))
    np.testing.assert_allclose(again, expected, rtol=1e-12)


def test_what_cannot_be_read_is_refused():
    material = replace(random_material(), given={("blind", "training"): Features()})
    with pytest.raises(ConfigError, match="gives scores, and blind gives none"):
        ScoreOfImages("blind", "mean").scores(material)
    with pytest.raises(ConfigError, match="aesthetic is not among the chosen ones"):
        ScoreOfImages("aesthetic", "mean").scores(material)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="images: expected 1 or more, got 0"):
        PropertyOfImages(0)
    with pytest.raises(ConfigError, match="aggregate: expected one of"):
        ScoreOfImages("pixels", "least")


def test_training_images_have_no_score_that_depends_on_their_place():
    """What CLIP says of an image is of the prompt at its place, which is that of generated ones."""
    clip = Clip("somewhere", ["left", "right"], 8)
    image = torch.tensor([[3, 4]], dtype=torch.uint8)
    told = clip.features(Sight(), torch.stack([image, image])).scores
    assert told.tolist() == pytest.approx([60, 80])  # cosines of 3 and 4 over 5
    for baseline, key in (
        (PropertyOfImages(WHOLE), "_target_: of clip_score, clip"),
        (ScoreOfImages("clip", "mean"), "extractor: clip"),
    ):
        with pytest.raises(ConfigError, match=f"^{key} scores an image by .* one of 2 in turn"):
            baseline.check(planned(["left", "right"]))
        baseline.check(planned(["one alone"]))
    ScoreOfImages("pixels", "mean").check(planned(["left", "right"]))
