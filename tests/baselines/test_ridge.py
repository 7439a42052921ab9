"""The damped inverse: against numpy's, in both forms, and where damping is too little."""

import numpy as np
import pytest
import torch

from crediting.baselines.ridge import RidgeInverse
from crediting.errors import ConfigError

SHAPES = [(40, 6), (6, 40)]


def features(rows, dimensions, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, dimensions)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
def test_it_is_the_inverse_that_numpy_computes(shape, damping, capsys):
    rows = features(*shape)
    moments = rows.T.numpy() @ rows.numpy() + damping * np.eye(shape[1])
    vectors = features(3, shape[1], seed=1)
    found = RidgeInverse(rows, damping, relative=False)(vectors)
    expected = np.linalg.solve(moments, vectors.numpy().T).T
    assert found.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-6 * np.abs(expected).max())
    assert "damping" not in capsys.readouterr().err


def test_that_few_digits_are_left_is_said(capsys):
    RidgeInverse(features(6, 40), 1e-15, relative=True)
    assert "damping: lambda is " in capsys.readouterr().err


def test_what_cannot_be_inverted_is_a_matter_of_damping():
    rows = features(40, 6)
    rows[:, 5] = rows[:, 4]  # a dimension too many
    with pytest.raises(ConfigError, match=r"damping: .* raise it"):
        RidgeInverse(rows, 1e-40, relative=False)


def test_of_features_that_vanish_only_lambda_is_left(capsys):
    """(0 + lambda I)^-1 v = v / lambda: relative=false is what the refusal of the other advises."""
    nothing, vectors = torch.zeros(6, 4, dtype=torch.float64), features(3, 4)
    with pytest.raises(ConfigError, match="relative=false"):
        RidgeInverse(nothing, 0.5, relative=True)
    found = RidgeInverse(nothing, 0.5, relative=False)(vectors)
    np.testing.assert_allclose(found.numpy(), vectors.numpy() / 0.5, rtol=1e-12)
    assert "damping" not in capsys.readouterr().err


def test_relative_damping_is_a_multiple_of_the_mean_squared_norm_of_a_row():
    rows = torch.tensor([[3.0, 4.0], [0.0, 1.0]]).double()  # of squared norms 25 and 1
    vectors = torch.eye(2).double()
    relative, absolute = RidgeInverse(rows, 0.5, True), RidgeInverse(rows, 0.5 * 13, False)
    np.testing.assert_allclose(relative(vectors).numpy(), absolute(vectors).numpy(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 300_000), (300_000, 3)])
def test_only_the_smaller_of_both_matrices_is_ever_made(shape):
    """The larger would be 720 GB. What it gives is the solution: multiplied back, the vectors."""
    rows, vectors = features(*shape), features(2, shape[1], seed=1)
    found = RidgeInverse(rows, 1.0, relative=True)(vectors)
    damping = rows.square().sum(dim=1).mean()
    np.testing.assert_allclose(found @ rows.T @ rows + damping * found, vectors, rtol=1e-9)
