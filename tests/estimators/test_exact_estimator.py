from dataclasses import replace

import numpy as np
import pytest

from crediting.design import Exhaustive
from crediting.errors import LedgerError
from crediting.estimators import Exact
from crediting.game.coalition import coalition_key
from crediting.game.game import play
from crediting.game.toy import Additive, Airport, Gloves, SymmetricMajority, UnanimitySum

GAMES = [
    Additive((1.0, -2.5)),
    Gloves(3, 5),
    Airport((1.0, 8.0, 2.0, 2.0, 5.0, 0.0)),
    SymmetricMajority(9),
    UnanimitySum.random(16, (16, 40, 40, 20, 10), seed=1),
]


def permuted(sample, order):
    return replace(
        sample,
        coalitions=sample.coalitions[order],
        log_probabilities=sample.log_probabilities[order],
        utilities=sample.utilities[order],
    )


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)
def test_toy_games_get_their_known_values(game):
    attribution = Exact()(play(game, Exhaustive().sample(game.n_players)))
    np.testing.assert_allclose(attribution.credits, game.shapley_values, rtol=0, atol=1e-9)
    assert abs(attribution.efficiency_gap) < 1e-9


def test_an_offset_of_all_utilities_changes_nothing():
    game = GAMES[2]
    sample = play(game, Exhaustive().sample(game.n_players))
    offset = replace(
        sample,
        utilities=sample.utilities + 100,
        v_empty=sample.v_empty + 100,
        v_full=sample.v_full + 100,
    )
    np.testing.assert_allclose(Exact()(offset).credits, Exact()(sample).credits, rtol=0, atol=1e-12)


def test_there_is_no_uncertainty():
    attribution = Exact()(play(GAMES[1], Exhaustive().sample(8)))
    assert np.all(attribution.std_errors == 0)
    np.testing.assert_array_equal(attribution.ci_low, attribution.credits)
    np.testing.assert_array_equal(attribution.ci_high, attribution.credits)
    assert attribution.estimator == "exact"
    assert attribution.n_coalitions == 256 == Exact().minimum_coalitions(8)


def test_order_of_rows_does_not_matter():
    sample = play(UnanimitySum.random(7, (7, 9, 9), seed=2), Exhaustive().sample(7))
    order = np.random.default_rng(0).permutation(len(sample))
    np.testing.assert_allclose(
        Exact()(permuted(sample, order)).credits, Exact()(sample).credits, rtol=0, atol=1e-12
    )


def test_repeated_coalitions_count_by_their_mean():
    sample = play(Gloves(2, 2), Exhaustive().sample(4))
    everything = np.arange(16)
    twice = permuted(sample, np.concatenate([everything, everything]))
    noise = np.random.default_rng(0).normal(size=16)
    noisy = replace(twice, utilities=twice.utilities + np.concatenate([noise, -noise]))
    np.testing.assert_allclose(
        Exact()(noisy).credits, Gloves(2, 2).shapley_values, rtol=0, atol=1e-12
    )


def test_too_few_coalitions_are_refused():
    sample = permuted(play(Gloves(2, 2), Exhaustive().sample(4)), np.arange(1, 16))
    with pytest.raises(LedgerError, match=r"all 2\^4 coalitions, got 15; .*design=exhaustive"):
        Exact()(sample)


def test_missing_coalitions_are_named():
    rows = np.arange(16)
    rows[5] = 6
    sample = play(Gloves(2, 2), Exhaustive().sample(4))
    missing = coalition_key(sample.coalitions[5])
    with pytest.raises(LedgerError, match=f"1 are missing, for instance {missing}; "):
        Exact()(permuted(sample, rows))
