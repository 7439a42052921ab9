from dataclasses import replace

import numpy as np
import pytest
from samples import rows_of
from scipy.stats import norm

from crediting import design
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import AddOneIn, LeaveOneOut
from crediting.game.game import play
from crediting.game.toy import Additive, Airport, Gloves, UnanimitySum

ESTIMATOR = AddOneIn(confidence=0.9)
PAIRS = design.PairedUniform(6, 0, ends=True)


@pytest.mark.parametrize("designer", [design.AddOneIn(), design.Exhaustive(), PAIRS], ids=repr)
@pytest.mark.parametrize(
    ("game", "worth"),
    [
        (Additive((1.0, -2.0, 0.5)), [1.0, -2.0, 0.5]),
        (Gloves(1, 2), [0.0, 0.0, 0.0]),
        (Airport((1.0, 7.0, 4.0)), [1.0, 7.0, 4.0]),
    ],
    ids=repr,
)
def test_credits_are_what_each_is_worth_alone(designer, game, worth):
    sample = play(game, designer.sample(3))
    raised = replace(sample, utilities=sample.utilities + 5, v_empty=5.0, v_full=sample.v_full + 5)
    order = np.random.default_rng(0).permutation(len(sample))
    for attribution in (ESTIMATOR(raised), ESTIMATOR(rows_of(raised, order))):
        np.testing.assert_allclose(attribution.credits, worth, rtol=0, atol=1e-12)


def test_it_is_leave_one_out_of_the_dual_game():
    """The dual game pays a coalition what the others fail to reach: v(N) - v(N without S)."""
    game = UnanimitySum.random(7, (7, 9, 9), seed=2)
    sample = play(game, design.Exhaustive().sample(7))
    dual = replace(sample, utilities=sample.v_full - sample.utilities[::-1])
    left_out = LeaveOneOut(0.9)(dual).credits
    np.testing.assert_allclose(ESTIMATOR(sample).credits, left_out, rtol=0, atol=1e-12)


def test_uncertainty_is_unknown_unless_noise_was_measured():
    sample = play(Gloves(1, 2), design.AddOneIn().sample(3))
    attribution = ESTIMATOR(sample)
    for field in ("std_errors", "ci_low", "ci_high", "confidence", "noise_errors"):
        assert np.isnan(getattr(attribution, field)).all()
    assert attribution.estimator == "add_one_in"
    assert attribution.n_coalitions == 3 == ESTIMATOR.minimum_coalitions(3)


def test_measured_noise_is_that_of_a_difference_and_partly_shared():
    game = Additive((0.0, 1.0, 2.0, 5.0))
    attribution = ESTIMATOR(play(game, design.AddOneIn().sample(4), noise_variance=0.25))
    np.testing.assert_allclose(attribution.std_errors, np.sqrt(2) * 0.5, rtol=1e-12)
    reach = attribution.ci_high - attribution.credits
    np.testing.assert_allclose(reach, norm.ppf(0.95) * np.sqrt(2) * 0.5, rtol=1e-12)
    correlations = np.corrcoef(attribution.draws.T)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(correlations, 0.5, atol=0.07)


def test_missing_coalitions_are_named_with_the_designs_that_have_them():
    sample = play(Additive((1.0,) * 5), design.AddOneIn().sample(5))
    with pytest.raises(LedgerError) as failure:
        ESTIMATOR(rows_of(sample, [3, 0, 2]))
    assert (
        "design=add_one_in, 2 of them are missing, for instance only contributor number 2, 5;"
        in str(failure.value)
    )
    assert "design.budget of at least 15." in str(failure.value)


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan")])
def test_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(ConfigError, match=rf"estimator\.confidence: .* got {confidence}; "):
        AddOneIn(confidence)
