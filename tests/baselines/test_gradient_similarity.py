"""Cosines of gradients; and what all baselines of gradients have in common."""

import inspect

import numpy as np
import pytest
import torch
from composing import composed
from gradient_material import OWNERS, SETTINGS, fresh, pixels, reordered
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from crediting.baselines import GradientSimilarity
from crediting.errors import ConfigError

OPTIONS = [
    "gradient_similarity_mean",
    "gradient_similarity_max",
    "trak",
    "relative_influence",
    "renormalised_influence",
    "d_trak",
    "journey_trak",
    "das",
]
SMALL = {"timesteps": 2, "dimensions": 24, "memory_mb": 16}
SMALL_JOURNEY = {"generated": 3, "steps": 4}


def read(option, guidance=None):
    whole = composed(f"baseline=[{option}]")
    OmegaConf.update(whole, "generation.guidance", guidance, force_add=True)
    return whole.baseline


def build(option, guidance=None, **changed):
    node = OmegaConf.merge(read(option, guidance)[option], SMALL, changed)
    node.update(SMALL_JOURNEY if option == "journey_trak" else {})
    return instantiate(node, _convert_="all")


@pytest.fixture(scope="module")
def materials():
    """One material for each setting, which remembers what the tests before asked for."""
    return {name: make() for name, make in SETTINGS.items()}


# ------------------------------------------------------------------------------ similarity


@pytest.mark.parametrize("aggregate", ["mean", "max", "sum"])
def test_similarity_is_the_mean_cosine_of_the_features(aggregate):
    material = pixels()
    baseline = build("gradient_similarity_mean", aggregate=aggregate)
    training = baseline.of_training(material, "loss").numpy()
    generated = baseline.of_generated(material, "loss").numpy()
    cosines = [
        np.mean([t @ g / np.linalg.norm(t) / np.linalg.norm(g) for g in generated])
        for t in training
    ]
    expected = [getattr(np, aggregate)(np.array(cosines)[i == OWNERS]) for i in range(3)]
    np.testing.assert_allclose(baseline.scores(material), expected, rtol=1e-9)


def test_images_that_were_trained_on_are_most_similar_to_themselves():
    material = pixels()
    material.generated = type(material.generated)(material.training.latents[OWNERS == 2])
    scores = build("gradient_similarity_max", dimensions=None).scores(material)
    assert scores.argmax() == 2
    material.generated = type(material.generated)(material.training.latents[:1])
    scores = build("gradient_similarity_max", dimensions=None).scores(fresh(material))
    assert scores[OWNERS[0]] == pytest.approx(1, abs=1e-5)


def test_an_unknown_output_is_refused():
    with pytest.raises(ConfigError, match="output: expected one of"):
        GradientSimilarity(1, None, 1, None, "mean", "noise")


# ------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_has_the_keys_of_its_class_and_is_built(option):
    whole = read(option)
    assert list(whole) == [option]
    built = instantiate(whole[option], _convert_="all")
    node = OmegaConf.to_container(whole[option], resolve=True)
    target = get_class(node.pop("_target_"))
    assert type(built) is target
    assert set(node) == set(inspect.signature(target).parameters)
    assert {key: getattr(built, key) for key in node} == node


def test_no_parameter_has_a_default():
    targets = {get_class(read(option)[option]._target_) for option in OPTIONS}
    parameters = [p for t in targets for p in inspect.signature(t).parameters.values()]
    assert all(p.default is inspect.Parameter.empty for p in parameters)


def test_journeys_are_guided_as_the_generated_images_are():
    assert build("journey_trak", guidance=7.5).guidance == 7.5


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("option", OPTIONS)
def test_everybody_has_a_finite_score(option, setting, materials):
    guidance = 3.0 if setting == "stable_diffusion" else None
    scores = build(option, guidance).scores(materials[setting])
    assert scores.shape == (3,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert len(set(scores.tolist())) == 3


@pytest.mark.parametrize("option", OPTIONS)
def test_the_order_of_the_dataset_does_not_matter(option, materials):
    """The authors' code pairs the contributors with shuffled rows."""
    expected = build(option).scores(materials["pixels"])
    found = build(option).scores(reordered(materials["pixels"], 3))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("option", ["trak", "das"])
def test_captions_move_with_their_examples(option, materials):
    expected = build(option).scores(materials["stable_diffusion"])
    found = build(option).scores(reordered(materials["stable_diffusion"], 3))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_rows_of_the_training_examples_are_in_the_order_of_the_dataset():
    material = pixels()
    whole = build("trak").of_training(material, "loss")
    material.training = type(material.training)(material.training.latents[4:5])
    alone = build("trak").of_training(fresh(material), "loss")
    torch.testing.assert_close(alone[0], whole[4], rtol=1e-4, atol=1e-6)


def test_memory_does_not_change_the_features():
    features = {
        memory: build("trak", memory_mb=memory).of_training(pixels(), "loss") for memory in (1, 64)
    }
    assert (features[1] - features[64]).norm() < 1e-5 * features[64].norm()


def test_features_are_the_seeds():
    one, same, other = (
        build("trak").of_training(fresh(pixels(), seed=s), "loss") for s in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert (one - other).norm() > 0.1 * one.norm()


def test_what_several_baselines_read_is_computed_once():
    material = pixels()
    for option in OPTIONS:
        build(option).scores(material)
    # loss, square norm and probe, of training and generated images, and the loss of the ways
    assert len(material.computed) == 7
    assert set(material.computed.values()) == {1}
    build("trak", memory_mb=32).scores(material)
    assert len(material.computed) == 7
    build("trak", timesteps=3).scores(material)
    assert len(material.computed) == 9
    build("trak", generated=2).scores(material)
    assert len(material.computed) == 10
