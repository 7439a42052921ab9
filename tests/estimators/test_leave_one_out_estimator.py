import re
from dataclasses import replace

import numpy as np
import pytest

from crediting import design
from crediting.errors import LedgerError
from crediting.estimators import LeaveOneOut
from crediting.game.coalition import coalition_key
from crediting.game.game import play
from crediting.game.toy import Additive, Airport, Gloves

ESTIMATOR = LeaveOneOut()


def rows_of(sample, rows):
    return replace(
        sample,
        coalitions=sample.coalitions[rows],
        log_probabilities=sample.log_probabilities[rows],
        utilities=sample.utilities[rows],
    )


@pytest.mark.parametrize("designer", [design.LeaveOneOut(), design.Exhaustive()], ids=repr)
@pytest.mark.parametrize(
    ("game", "losses"),
    [
        (Additive((1.0, -2.0, 0.5)), [1.0, -2.0, 0.5]),
        (Gloves(1, 2), [1.0, 0.0, 0.0]),
        (Airport((1.0, 7.0, 4.0)), [0.0, 3.0, 0.0]),
    ],
    ids=repr,
)
def test_credits_are_what_the_grand_coalition_loses(designer, game, losses):
    sample = play(game, designer.sample(3))
    order = np.random.default_rng(0).permutation(len(sample))
    for attribution in (ESTIMATOR(sample), ESTIMATOR(rows_of(sample, order))):
        np.testing.assert_allclose(attribution.credits, losses, rtol=0, atol=1e-12)


def test_uncertainty_is_unknown():
    attribution = ESTIMATOR(play(Gloves(1, 2), design.LeaveOneOut().sample(3)))
    for field in ("std_errors", "ci_low", "ci_high", "confidence"):
        assert np.isnan(getattr(attribution, field)).all()
    assert attribution.estimator == "leave_one_out"
    assert attribution.n_coalitions == 3 == ESTIMATOR.minimum_coalitions(3)


def test_efficiency_gap_shows_what_is_not_handed_out():
    attribution = ESTIMATOR(play(Airport((1.0, 7.0, 4.0)), design.LeaveOneOut().sample(3)))
    assert attribution.efficiency_gap == pytest.approx(4.0)


def test_repeated_coalitions_count_by_their_mean():
    sample = rows_of(play(Gloves(1, 2), design.LeaveOneOut().sample(3)), [0, 1, 2, 2])
    noisy = replace(sample, utilities=sample.utilities + np.array([0, 0, 0.5, -0.5]))
    np.testing.assert_allclose(ESTIMATOR(noisy).credits, [1, 0, 0], rtol=0, atol=1e-12)


def test_missing_coalitions_are_named():
    sample = play(Additive((1.0,) * 5), design.LeaveOneOut().sample(5))
    keys = ", ".join(coalition_key(sample.coalitions[player]) for player in (1, 4))
    expected = re.escape(
        f"without contributors [1, 4] ({keys}). Evaluate them with design=leave_one_out"
    )
    with pytest.raises(LedgerError, match=expected):
        ESTIMATOR(rows_of(sample, [3, 0, 2]))
