"""How heavy the tails of intervals are: Student's, with what tells the standard errors."""

import numpy as np
import pytest
from samples import degrees_of

from crediting import design
from crediting.estimators import (
    AddOneIn,
    Banzhaf,
    BetaShapley,
    Datamodel,
    Exact,
    KernelBanzhaf,
    KernelShap,
    LeaveOneOut,
)
from crediting.game.game import play
from crediting.game.toy import UnanimitySum

GAME = UnanimitySum.random(6, (6, 9, 9), seed=1)
ALL = design.Exhaustive().sample(6)


@pytest.mark.parametrize(
    ("estimator", "drawn"),
    [
        (LeaveOneOut(0.95), design.LeaveOneOut().sample(6)),
        (AddOneIn(0.95), design.AddOneIn().sample(6)),
        *[
            (estimator, ALL)
            for estimator in (
                LeaveOneOut(0.95),
                Exact(0.95),
                Banzhaf(0.95),
                KernelBanzhaf(0.95),
                KernelShap(0.95, 10, 0),
                Datamodel([1.0], 0.95),
            )
        ],
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_where_noise_is_the_only_error_they_are_those_it_was_measured_with(estimator, drawn):
    found = estimator(play(GAME, drawn, noise_variance=0.3, noise_degrees=3.0))
    np.testing.assert_allclose(degrees_of(found), 3, rtol=1e-4)
    np.testing.assert_allclose(found.std_errors, found.noise_errors)


@pytest.mark.parametrize("budget", [30, 40])
@pytest.mark.parametrize("estimator", [KernelBanzhaf(0.95), BetaShapley(2.0, 1.0, 0.95)])
def test_those_of_a_regression_are_units_less_what_is_fitted_to_them(estimator, budget):
    """Pairs are units; fitted are memberships and the square and cube of the size."""
    drawn = design.PairedUniform(budget, 0, ends=True).sample(6)
    features = drawn.coalitions.astype(float)
    size = features.sum(axis=1, keepdims=True)
    features = np.hstack([features, size**2, size**3])
    fitted = np.linalg.matrix_rank(features - features.mean(axis=0))
    found = estimator(play(GAME, drawn))
    np.testing.assert_allclose(degrees_of(found), budget / 2 - fitted, rtol=1e-4)


@pytest.mark.parametrize("penalty", [1e-9, 2.0, 50.0])
def test_those_of_a_ridge_regression_are_less_by_the_trace_of_its_hat_matrix(penalty):
    drawn = design.Bernoulli(40, 2).sample(9)
    members = drawn.coalitions - drawn.coalitions.mean(axis=0)
    trace = np.trace(
        members @ np.linalg.solve(members.T @ members + penalty * np.eye(9), members.T)
    )
    units = {min(row.tobytes(), (~row).tobytes()) for row in drawn.coalitions}
    found = Datamodel([penalty], 0.95)(play(UnanimitySum.random(9, (9, 9), seed=1), drawn))
    np.testing.assert_allclose(degrees_of(found), len(units) - trace, rtol=1e-4)


def test_those_of_equal_weights_are_one_less_than_the_units():
    drawn = design.Bernoulli(30, 1).sample(9)
    keys = {min(row.tobytes(), (~row).tobytes()) for row in drawn.coalitions}
    assert len(keys) == 30
    proper = drawn.coalitions.any(axis=1) & ~drawn.coalitions.all(axis=1)
    assert proper.all()
    found = Banzhaf(0.95)(play(UnanimitySum.random(9, (9, 9), seed=1), drawn))
    np.testing.assert_allclose(degrees_of(found), 29, rtol=1e-4)
