"""From training images to contributors; and that every option of these baselines can be built."""

import inspect

import numpy as np
import pytest
import torch
from fake_material import GivenMaterial, random_images, random_material
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from crediting import config
from crediting.baselines.aggregate import AGGREGATES, by_contributor, examples_of_each
from crediting.baselines.reading import ReadsFeatures
from crediting.errors import ConfigError

OPTIONS = [
    *(
        f"{score}_similarity_{how}"
        for score in ("pixel", "embedding", "clip")
        for how in AGGREGATES
    ),
    *(f"embedding_distance_{how}" for how in AGGREGATES),
    *(f"aesthetic_of_images_{how}" for how in AGGREGATES),
    *("property_of_images", "size", "mixture_proxy"),
]
OPTIONS = [option for option in OPTIONS if not option.endswith("_sum")]


def owned_by(*owners):
    return GivenMaterial(random_images(len(owners), 0), random_images(1, 0), np.array(owners))


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("mean", [2.0, -3.0]), ("max", [3.0, -2.0]), ("sum", [4.0, -6.0])]
)
def test_scores_are_those_of_a_contributors_own_images(aggregate, expected):
    scores = torch.tensor([1.0, -4.0, 100.0, 3.0, -2.0])
    assert by_contributor(scores, owned_by(0, 1, -1, 0, 1), aggregate).tolist() == expected


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_scores_are_those_of_a_loop(aggregate):
    material = random_material((4, 1, 7, 2), nobodys=3)
    scores = np.random.default_rng(0).normal(size=len(material.contributors))
    expected = [
        getattr(np, aggregate)(
            [s for s, o in zip(scores, material.contributors, strict=True) if o == i]
        )
        for i in range(4)
    ]
    found = by_contributor(torch.from_numpy(scores), material, aggregate)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_examples_are_counted_also_of_contributors_without_any():
    assert examples_of_each(owned_by(2, -1, 0, 2)).tolist() == [1, 0, 2]


def test_an_unknown_aggregate_is_refused():
    with pytest.raises(ConfigError, match=r"^aggregate: expected one of mean, max, sum, got 'min'"):
        ReadsFeatures(extractor=None, aggregate="min")


# ------------------------------------------------------------------------------ their options


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_has_the_keys_of_its_class_and_is_built(option):
    path = config.CONFIG_DIR / "baseline" / f"{option}.yaml"
    surroundings = {"generation": {"images": 12}}
    whole = OmegaConf.merge(surroundings, {"baseline": OmegaConf.load(path)})
    assert list(whole.baseline) == [option]
    built = instantiate(whole.baseline[option], _convert_="all")
    node = OmegaConf.to_container(whole.baseline[option], resolve=True)
    target = get_class(node.pop("_target_"))
    assert type(built) is target
    assert set(node) == set(inspect.signature(target).parameters)
    assert {key: getattr(built, key) for key in node} == node


@pytest.mark.parametrize("option", [one for one in OPTIONS if one.endswith(("_mean", "_max"))])
def test_an_option_aggregates_as_its_name_says(option):
    node = OmegaConf.load(config.CONFIG_DIR / "baseline" / f"{option}.yaml")[option]
    assert node.aggregate == option.split("_")[-1]
