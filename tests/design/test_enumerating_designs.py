import numpy as np
import pytest

from crediting.design import AddOneIn, Exhaustive, LeaveOneOut
from crediting.errors import ConfigError


@pytest.mark.parametrize("n_players", [2, 5, 10])
def test_exhaustive_has_every_coalition_once(n_players):
    sample = Exhaustive().sample(n_players)
    assert len(sample) == len(np.unique(sample.coalitions, axis=0)) == 2**n_players
    assert np.exp(sample.log_probabilities).sum() == pytest.approx(1, abs=1e-12)
    assert np.ptp(sample.log_probabilities) == 0


def test_exhaustive_refuses_more_than_twenty_players():
    with pytest.raises(ConfigError, match=r"at most 20 contributors, got 21; .*estimator=bayesian"):
        Exhaustive().sample(21)


@pytest.mark.parametrize("n_players", [2, 5, 300])
def test_leave_one_out_lacks_each_player_once(n_players):
    sample = LeaveOneOut().sample(n_players)
    np.testing.assert_array_equal(np.argwhere(~sample.coalitions)[:, 1], np.arange(n_players))
    np.testing.assert_array_equal(sample.coalitions.sum(axis=1), n_players - 1)
    assert np.exp(sample.log_probabilities).sum() == pytest.approx(1, abs=1e-12)
    assert np.ptp(sample.log_probabilities) == 0


@pytest.mark.parametrize("n_players", [2, 5, 300])
def test_add_one_in_has_each_player_alone_once(n_players):
    sample = AddOneIn().sample(n_players)
    np.testing.assert_array_equal(np.argwhere(sample.coalitions)[:, 1], np.arange(n_players))
    np.testing.assert_array_equal(sample.coalitions.sum(axis=1), 1)
    assert np.exp(sample.log_probabilities).sum() == pytest.approx(1, abs=1e-12)
    assert np.ptp(sample.log_probabilities) == 0
