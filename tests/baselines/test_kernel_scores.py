"""Kernel scores against dense closed forms, by given features and on a linear model."""

import numpy as np
import pytest
import torch
from gradient_material import LinearDenoiser, fresh, linear, normal, pixels, stable_diffusion
from sklearn.linear_model import Ridge

from crediting.baselines import RelativeInfluence, RenormalisedInfluence, Trak
from crediting.baselines.example_gradients import ExampleGradients
from crediting.baselines.projected import spaced
from crediting.baselines.ridge import RidgeInverse
from crediting.errors import ConfigError, EvaluationError
from crediting.randomness import Stream

KINDS = {"trak": Trak, "relative": RelativeInfluence, "renormalised": RenormalisedInfluence}


def kernel(kind=Trak, **changed):
    settings = {"timesteps": 3, "dimensions": None, "memory_mb": 64, "generated": None}
    kernel_settings = {"aggregate": "sum", "output": "loss", "damping": 0.2, "relative": False}
    return kind(**{**settings, **kernel_settings, **changed})


def random_rows(count, width, seed):
    return np.random.default_rng(seed).normal(size=(count, width))


class GivenFeatures:
    """Remembers features, for the seven examples and five images of three contributors."""

    def __init__(self, training, generated, output="loss"):
        self._features = {("training", output): training, ("generated", output): generated}
        self.contributors, self.seed = pixels().contributors, 0
        self.n_contributors = 3

    def remember(self, what, settings, compute):
        return torch.from_numpy(self._features[settings["which"], settings["output"]])


def summed(scores, owners):
    return np.array([scores[owners == i].sum() for i in range(3)])


def dense(kind, training, generated, damping):
    """Return the scores of examples, by the inverse itself and a loop."""
    inverse = np.linalg.inv(training.T @ training + damping * np.eye(training.shape[1]))
    scores = []
    for row in training:
        score = np.mean([image @ inverse @ row for image in generated])
        if kind == "relative":
            score /= np.linalg.norm(inverse @ row)
        if kind == "renormalised":
            score /= np.linalg.norm(row)
        scores.append(score)
    return np.array(scores)


# ------------------------------------------------------------------------------ given features


@pytest.mark.parametrize("width", [3, 7, 20])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_inverse(kind, relative, width):
    training, generated = random_rows(7, width, 0), random_rows(5, width, 1)
    material = GivenFeatures(training, generated)
    unit = (training**2).sum() / 7 if relative else 1
    expected = dense(kind, training, generated, 0.2 * unit)
    found = kernel(KINDS[kind], relative=relative).scores(material)
    np.testing.assert_allclose(found, summed(expected, material.contributors), rtol=1e-9)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_the_inverse_is_by_either_form_that_of_numpy(shape):
    rows, vectors = random_rows(*shape, 2), random_rows(3, shape[1], 3)
    expected = vectors @ np.linalg.inv(rows.T @ rows + 0.7 * np.eye(shape[1]))
    inverse = RidgeInverse(torch.from_numpy(rows), 0.7, False)
    np.testing.assert_allclose(inverse(torch.from_numpy(vectors)), expected, rtol=1e-9)


def test_trak_says_how_a_ridge_regression_moves_with_a_target():
    """Exactly, as its predictions are linear in its targets; the features are its inputs."""
    inputs, asked = random_rows(7, 3, 4), random_rows(5, 3, 5)
    targets = np.random.default_rng(6).normal(size=7)
    material = GivenFeatures(inputs, asked)

    def mean_prediction(targets):
        fitted = Ridge(alpha=0.2, fit_intercept=False).fit(inputs, targets)
        return fitted.predict(asked).mean()

    moves = mean_prediction(targets + 1) - mean_prediction(targets)
    by_example = [
        mean_prediction(targets + np.eye(7)[i]) - mean_prediction(targets) for i in range(7)
    ]
    found = kernel().scores(material)
    np.testing.assert_allclose(found, summed(np.array(by_example), material.contributors))
    assert found.sum() + by_example[4] == pytest.approx(moves)  # the fifth is nobody's


def test_trak_gives_leaving_one_out_of_a_ridge_regression():
    """Exactly, with residual and leverage: the change is score times r / (1 - h)."""
    inputs, asked = random_rows(7, 3, 7), random_rows(1, 3, 8)
    targets = np.random.default_rng(9).normal(size=7)
    material = GivenFeatures(inputs, asked)
    material.contributors, material.n_contributors = np.arange(7), 7
    model = Ridge(alpha=0.2, fit_intercept=False)
    whole = model.fit(inputs, targets).predict(asked)[0]
    residuals = targets - model.predict(inputs)
    leverages = np.diag(inputs @ np.linalg.inv(inputs.T @ inputs + 0.2 * np.eye(3)) @ inputs.T)
    others = [np.delete(np.arange(7), i) for i in range(7)]
    without = [model.fit(inputs[o], targets[o]).predict(asked)[0] for o in others]
    found = kernel().scores(material) * residuals / (1 - leverages)
    np.testing.assert_allclose(found, whole - np.array(without), rtol=1e-9)


@pytest.mark.parametrize(("kind", "power"), [("trak", 0), ("relative", 1), ("renormalised", -1)])
@pytest.mark.parametrize("scale", [1e-6, 1e-12])
def test_relative_damping_is_free_of_the_scale_of_the_gradients(kind, power, scale):
    """But for the norm that scores are divided by: of (F^T F + lambda I)^-1 f, or of f."""
    training, generated = random_rows(7, 4, 0), random_rows(5, 4, 1)
    baseline = kernel(KINDS[kind], relative=True)
    one = baseline.scores(GivenFeatures(training, generated))
    other = baseline.scores(GivenFeatures(scale * training, scale * generated))
    np.testing.assert_allclose(other, one * scale**power, rtol=1e-9)


@pytest.mark.parametrize("kind", ["relative", "renormalised"])
def test_an_example_without_a_gradient_scores_nothing(kind):
    training, generated = random_rows(7, 4, 0), random_rows(5, 4, 1)
    training[[0, 5]] = 0  # all that the second contributor has
    assert kernel(KINDS[kind]).scores(GivenFeatures(training, generated))[1] == 0


# ------------------------------------------------------------------------------ a linear model


def features(material, which, output):
    """Return the gradients of a linear model by their closed form, (n, p)."""
    denoiser, scheduler = material.denoiser(), material.noise_scheduler
    examples = material.examples(which)
    spaced = torch.tensor([0, 333, 666])
    stream = Stream("gradients", material.seed)
    source = ExampleGradients(denoiser, examples, scheduler, output, spaced.tolist(), stream, 2**24)
    noisy, _, targets, _, _ = source._inputs(torch.arange(len(examples)), spaced)
    total = torch.zeros(len(examples), len(denoiser.theta), dtype=torch.float64)
    with torch.no_grad():
        for j, timestep in enumerate(spaced):
            jacobian = denoiser.jacobian(noisy[:, j], timestep[None]).double()
            prediction = jacobian @ denoiser.theta.double()
            wanted = targets[:, j].flatten(1).double() if output == "loss" else 0
            rest = 2 * (prediction - wanted) / prediction.shape[1]
            total += (jacobian.mT @ rest[:, :, None])[:, :, 0] / 3
    return total.numpy()


@pytest.mark.parametrize("output", ["loss", "square_norm"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_a_linear_model(kind, output):
    """TRAK and its relatives by the gradient of the loss, D-TRAK by that of the square."""
    material = linear(10, 4, 6, normal("theta", 1, 8)[0])
    training, generated = (features(material, w, output) for w in ("training", "generated"))
    expected = dense(kind, training, generated, 0.2).reshape(2, 5).sum(axis=0)
    found = kernel(KINDS[kind], output=output).scores(material)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


def test_the_first_generated_images_are_looked_at():
    material = linear(10, 4, 6, normal("theta", 1, 8)[0])
    training, generated = (features(material, w, "loss") for w in ("training", "generated"))
    expected = dense("trak", training, generated[:2], 0.2).reshape(2, 5).sum(axis=0)
    found = kernel(generated=2).scores(material)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"timesteps": 0}, "timesteps: expected a positive number, got 0"),
        ({"dimensions": -1}, "dimensions: expected a positive number"),
        ({"memory_mb": 0}, "memory_mb: expected a positive number"),
        ({"generated": 0}, "generated: expected a positive number"),
        ({"damping": 0.0}, "damping: expected a positive number"),
        ({"output": "noise"}, "output: expected one of loss, square_norm"),
        ({"aggregate": "least"}, "aggregate: expected one of"),
    ],
)
def test_arguments_out_of_range_are_refused(changed, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        kernel(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"timesteps": 1001}, "timesteps: expected at most the model's 1000, got 1001"),
        ({"generated": 6}, "generated: expected at most the 5 images of generation.images, got 6"),
    ],
)
def test_more_than_there_is_is_refused(changed, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        kernel(**changed).scores(pixels())


def test_gradients_that_all_vanish_are_refused():
    material = GivenFeatures(np.zeros((7, 4)), np.zeros((5, 4)))
    with pytest.raises(ConfigError, match=r"^damping: expected a positive lambda, got 0\.0"):
        kernel(relative=True).scores(material)


def test_a_diverged_model_is_a_failure():
    material = linear(4, 2, 3, torch.tensor([1.0, float("nan")]))
    assert isinstance(material.denoiser(), LinearDenoiser)
    with pytest.raises(EvaluationError, match="NaN or infinite"):
        kernel().scores(material)


@pytest.mark.parametrize("count", [1, 3, 7, 10, 999, 1000])
def test_timesteps_are_spaced_as_equally_as_whole_numbers_can_be(count):
    found = spaced(count, 1000)
    assert found[0] == 0
    assert len(found) == count
    assert set(np.diff([*found, 1000])) <= {1000 // count, -(-1000 // count)}


def test_the_projection_is_the_same_for_examples_that_do_not_fit_together():
    """Of 40,000 gradients a megabyte holds three at a time."""
    material = linear(7, 2, 4, normal("theta", 40_000))
    little, much = (
        kernel(memory_mb=memory, dimensions=8, timesteps=1).of_training(fresh(material), "loss")
        for memory in (1, 64)
    )
    torch.testing.assert_close(little, much, rtol=1e-4, atol=1e-4 * float(much.abs().max()))


@pytest.mark.parametrize(("memory", "times"), [(1, 3), (64, 1)])
def test_how_often_a_large_matrix_is_drawn_is_said(memory, times, monkeypatch, capsys):
    """For seven examples, three at a time or all at once; what takes no time is not said."""
    material = linear(7, 2, 4, normal("theta", 40_000))
    baseline = kernel(memory_mb=memory, dimensions=8, timesteps=1)
    baseline.of_training(fresh(material), "loss")
    assert capsys.readouterr().err == ""
    numbers = times * 40_000 * 8
    monkeypatch.setattr("crediting.baselines.projected._MANY", numbers - 1)
    baseline.of_training(fresh(material), "loss")
    assert f"is drawn {times} times, {numbers:.0e} numbers" in capsys.readouterr().err


@pytest.mark.parametrize("count", [2, 5])
def test_the_first_generated_images_are_looked_at_with_their_own_prompts(count):
    material = stable_diffusion()
    some = kernel(generated=count).of_generated(fresh(material), "loss")
    everything = kernel().of_generated(fresh(material), "loss")
    assert len(everything) == 5
    torch.testing.assert_close(some, everything[:count], rtol=1e-4, atol=1e-6)
