import math
from dataclasses import replace

import numpy as np
import pytest

from crediting.errors import DataError
from crediting.estimators import Exact
from crediting.estimators.uncertainty import by_covariance, unknown, without_sampling_error
from crediting.game.axioms import (
    declared_players,
    findings,
    interchangeable_players,
    null_player_gap,
    null_players,
    symmetry_gap,
)
from crediting.game.coalition import all_coalitions
from crediting.game.game import EvaluatedSample, Sample, play
from crediting.game.toy import Additive, Airport, Gloves, SymmetricMajority, UnanimitySum

# Players 0 and 2 are interchangeable, player 1 adds nothing, player 3 is like no other.
GAME = Airport((4.0, 0.0, 4.0, 5.0))
UTILITIES = GAME(all_coalitions(4))


@pytest.mark.parametrize(
    "game",
    [
        GAME,
        Gloves(2, 3),
        SymmetricMajority(5),
        UnanimitySum.random(5, (3, 2, 2), seed=8),
        Additive((1.0, 0.0, 1.0, 0.0)),
    ],
    ids=repr,
)
def test_shapley_values_violate_nothing(game):
    utilities = game(all_coalitions(game.n_players))
    values = game.shapley_values
    assert values.sum() == pytest.approx(utilities[-1] - utilities[0], abs=1e-12)
    assert symmetry_gap(values, utilities, 1e-12) < 1e-12
    assert null_player_gap(values, utilities, 1e-12) < 1e-12


def test_efficiency_gap_is_the_missing_amount():
    nothing = np.zeros(0)
    sample = EvaluatedSample(np.zeros((0, 2), bool), nothing, nothing, 0.5, 4.0, math.nan)
    assert unknown(np.array([1.0, 2.0]), sample, "test").efficiency_gap == 0.5
    assert unknown(np.array([1.0, 3.0]), sample, "test").efficiency_gap == -0.5


def test_interchangeable_players_are_found():
    assert interchangeable_players(UTILITIES, 0.0) == [(0, 2)]
    assert interchangeable_players(Gloves(2, 2)(all_coalitions(4)), 0.0) == [(0, 1), (2, 3)]


def test_null_players_are_found():
    np.testing.assert_array_equal(null_players(UTILITIES, 0.0), [1])


def test_symmetry_gap_looks_at_interchangeable_players_only():
    assert symmetry_gap(np.array([1.0, 7.0, 3.5, 9.0]), UTILITIES, 0.0) == 2.5


def test_null_player_gap_looks_at_null_players_only():
    assert null_player_gap(np.array([1.0, -0.25, 3.5, 9.0]), UTILITIES, 0.0) == 0.25


def test_nothing_is_violated_where_no_player_is_concerned():
    utilities = Additive((1.0, 2.0, 4.0))(all_coalitions(3))
    credits = np.array([5.0, -1.0, 3.0])
    assert symmetry_gap(credits, utilities, 0.0) == 0
    assert null_player_gap(credits, utilities, 0.0) == 0


def test_tolerance_decides_what_counts_as_equal():
    utilities = Additive((1.0, 1.1, 0.05))(all_coalitions(3))
    assert interchangeable_players(utilities, 0.01) == []
    assert interchangeable_players(utilities, 0.2) == [(0, 1)]
    np.testing.assert_array_equal(null_players(utilities, 0.2), [2])


# ------------------------------------------------------------------------------ findings

NAMES = ("ada", "bo", "cy", "dee")
HALF = Sample(all_coalitions(4)[1:9], np.full(8, -math.log(8)))
"""Eight of sixteen coalitions: nobody can be found in them."""


def whole(game) -> EvaluatedSample:
    coalitions = all_coalitions(game.n_players)
    return play(game, Sample(coalitions, np.full(len(coalitions), -game.n_players * math.log(2))))


def attributed(credits, covariance, sample):
    credits = np.array(credits, dtype=float)
    covariance = np.array(covariance, dtype=float)
    return by_covariance(credits, covariance, np.inf, sample, "some", 0.95, np.full(4, np.nan))


def lines(credits, covariance, duplicates=(), null_players=()):
    sample = play(GAME, HALF)
    attribution = attributed(credits, covariance, sample)
    return findings(sample, attribution, NAMES, duplicates, null_players)


def test_exact_credits_of_a_complete_game_hold_to_all_axioms():
    sample = whole(GAME)
    told = findings(sample, Exact(0.95)(sample), NAMES, [["ada", "cy"]], ["bo"])
    assert len(told) == 5
    assert [line.split(":")[0] for line in told] == [
        "Efficiency holds",
        "Symmetry holds",
        "Null player holds",
        "Symmetry holds",
        "Null player holds",
    ]
    assert "ada and cy are interchangeable" in told[3]
    assert "bo adds nothing" in told[4]


def test_credits_that_miss_an_axiom_of_a_complete_game_are_told_by_how_much():
    sample = whole(GAME)
    wrong = replace(Exact(0.95)(sample), credits=np.array([1.0, -0.25, 1.5, 2.0]))
    efficiency, symmetry, null = findings(sample, wrong, NAMES, [], [])
    assert "sum to 0.75 less than v(N) - v(empty), 15% of it" in efficiency
    assert symmetry.startswith("Symmetry is missed by 0.5:")
    assert null.startswith("Null player is missed by 0.25:")


def test_credits_that_hand_out_too_much_are_told_so():
    assert (
        "sum to 1.25 more than v(N) - v(empty), 25% of it" in lines([3, 0, 3, 0.25], np.eye(4))[0]
    )


def test_credits_that_miss_by_more_than_is_shared_out_are_told_in_plain_numbers():
    sample = replace(whole(GAME), v_empty=whole(GAME).v_full - 0.5)
    told = findings(sample, attributed([7, 0, 0, 0], np.eye(4), sample), NAMES, [], [])
    assert told[0].endswith("sum to 6.5 more than v(N) - v(empty), 1,300% of it.")


def test_no_share_is_told_where_nothing_is_shared_out():
    sample = replace(play(GAME, HALF), v_empty=5.0)
    told = findings(sample, attributed([1, 0, 0, 0], np.eye(4), sample), NAMES, [], [])
    assert told[0] == "Efficiency: the credits sum to 1 more than v(N) - v(empty)."


def test_a_game_is_complete_only_with_its_ends_and_every_other_coalition():
    inner = all_coalitions(4)[1:-1]
    sample = play(GAME, Sample(inner, np.full(14, -math.log(14))))
    credits = Exact(0.95)(whole(GAME))
    assert "interchangeable" in findings(sample, credits, NAMES, [], [])[1]
    repeated = np.concatenate([inner[:-1], inner[:3]])
    sample = play(GAME, Sample(repeated, np.full(16, -math.log(16))))
    assert "known beforehand" in findings(sample, credits, NAMES, [], [])[1]


def test_a_complete_game_without_equals_or_nulls_demands_nothing():
    game = Additive((1.0, 2.0, 4.0))
    sample = whole(game)
    told = findings(sample, Exact(0.95)(sample), NAMES[:3], [], [])
    assert len(told) == 2
    assert "demand nothing" in told[1]


def test_without_declarations_one_line_says_what_could_be_checked():
    told = lines([1, 1, 1, 2], np.eye(4))
    assert len(told) == 2
    assert told[0].startswith("Efficiency holds")
    assert "axioms.duplicates, axioms.null_players" in told[1]


@pytest.mark.parametrize(
    ("correlation", "verdict"), [(0.0, "is doubtful"), (0.9, "is doubtful"), (-0.9, "holds")]
)
def test_duplicates_are_judged_by_the_joint_error_of_their_difference(correlation, verdict):
    """The variance of a difference of two unit variances is 2 (1 - correlation)."""
    covariance = np.eye(4)
    covariance[0, 2] = covariance[2, 0] = correlation
    symmetry = lines([3, 1, 0, 2], covariance, [["ada", "cy"]])[1]
    assert symmetry.startswith(f"Symmetry {verdict}: the credits of ada and cy differ by 3; ")
    told = float(symmetry.split("up to ")[1].split(" is within")[0])
    assert told == pytest.approx(1.96 * math.sqrt(2 * (1 - correlation)), rel=0.1)


@pytest.mark.parametrize("count", [2, 4])
def test_one_in_twenty_groups_of_true_duplicates_is_doubted_however_large(count):
    doubted = [
        "doubtful" in lines(credits, np.eye(4), [["ada", "bo", "cy", "dee"][:count]])[1]
        for credits in np.random.default_rng(0).normal(size=(600, 4))
    ]
    assert 0.02 < np.mean(doubted) < 0.08


def test_of_many_duplicates_the_furthest_apart_are_judged():
    symmetry = lines([1, 0.5, 9, 3], np.eye(4), [["cy", "ada", "bo"], ["dee", "ada"]])
    assert "credits of cy and bo, the furthest apart of 3 duplicates, differ by 8.5" in symmetry[1]
    assert "credits of dee and ada differ by 2" in symmetry[2]


def test_null_players_are_judged_by_their_own_error():
    told = lines([0.3, -0.9, 1, 4.6], np.diag([0.04, 0.04, 1, 1]), [], ["ada", "bo"])
    assert told[1] == (
        "Null player holds: the credit of ada differs from 0 by 0.3; up to 0.392 is within chance."
    )
    assert told[2] == (
        "Null player is doubtful: the credit of bo differs from 0 by 0.9; up to 0.392 is within "
        "chance."
    )


def test_equal_credits_need_no_error():
    sample = play(GAME, HALF)
    none = unknown(np.array([1.0, 0.0, 1.0, 3.0]), sample, "some")
    _, symmetry, null = findings(sample, none, NAMES, [["ada", "cy"]], ["bo"])
    assert symmetry.startswith("Symmetry holds")
    assert null.startswith("Null player holds")


def test_without_errors_nothing_is_judged():
    sample = play(GAME, HALF)
    none = unknown(np.array([1.0, 0.5, 2.0, 1.5]), sample, "some")
    _, symmetry, null = findings(sample, none, NAMES, [["ada", "cy"]], ["bo"])
    assert symmetry == (
        "Symmetry cannot be judged: the credits of ada and cy differ by 1, "
        "of unknown standard error."
    )
    assert null.startswith("Null player cannot be judged: ")


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (math.nan, "cannot be judged: the credits of ada and bo differ by 1, and no replicate"),
        (0.5, "holds: the credits of ada and bo differ by 1; up to 1.3"),
        (0.0, "is doubtful: the credits of ada and bo differ by 1; up to 0 is"),
    ],
)
def test_exact_credits_are_judged_by_the_noise_that_replicates_measured(noise, expected):
    sample = play(GAME, HALF)
    errors = np.full(4, noise)
    credits = without_sampling_error(np.array([1.0, 2, 1, 1]), sample, "exact", 0.95, errors)
    assert expected in findings(sample, credits, NAMES, [["ada", "bo"]], [])[1]


@pytest.mark.parametrize(
    ("duplicates", "null_players", "message"),
    [
        ([["ada", "deee"]], [], "axioms.duplicates: .* got 'deee'; did you mean dee"),
        ([], ["adda"], "axioms.null_players: .* got 'adda'; did you mean ada"),
        ([], ["zzzz"], "axioms.null_players: .*; choose from ada, bo, cy and 1 more"),
        ([["ada"]], [], r"axioms.duplicates: .*at least 2 .* got \['ada'\]"),
        ([["ada", "ada"]], [], "axioms.duplicates: .*at least 2"),
        ([["\xe9", "e\u0301"]], [], "axioms.duplicates: .*at least 2"),
        (["ada", "bo"], [], r"such as \[\[ada, bo\]\], got 'ada'"),
        ([7], [], "axioms.duplicates: .* got 7"),
    ],
)
def test_what_names_no_contributor_is_refused(duplicates, null_players, message):
    with pytest.raises(DataError, match=message):
        lines([1, 1, 1, 2], np.eye(4), duplicates, null_players)


def test_the_last_digit_of_a_high_utility_tells_nobody_apart():
    """Means of replicates may differ in it."""
    sample = play(lambda rows: 1e9 + GAME(rows), Sample(all_coalitions(4), np.zeros(16)))
    utilities = sample.utilities.copy()
    utilities[1] = np.nextafter(utilities[1], np.inf)  # player 0 alone
    said = findings(replace(sample, utilities=utilities), Exact(0.95)(sample), NAMES, [], [])
    assert any("ada and cy are interchangeable" in line for line in said)


def test_names_are_known_however_their_accents_are_stored():
    names = ["e\u0301va", "zoe\u0308", "ann"]
    declared = declared_players(names, [["zo\xeb", "\xe9va"]], ["e\u0301va", "zo\xeb"])
    assert declared == ([[1, 0]], [0, 1])


@pytest.mark.parametrize("level", [0.0, 1e6, 1e12])
def test_how_high_utilities_lie_makes_nobody_equal(level):
    game = Additive((3.5, 2.0, 1.5, 0.5))
    sample = play(lambda rows: level + game(rows), Sample(all_coalitions(4), np.zeros(16)))
    said = findings(sample, Exact(0.95)(sample), NAMES, [], [])
    assert said[1].startswith("In all coalitions no two contributors are interchangeable")
