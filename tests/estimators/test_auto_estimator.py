from dataclasses import dataclass, replace
from math import comb
from typing import ClassVar

import numpy as np
import pytest

from crediting.design import Exhaustive, PairedUniform
from crediting.errors import ConfigError, LedgerError
from crediting.estimators import Auto, Bayesian, KernelShap, LeaveOneOut
from crediting.estimators.uncertainty import unknown
from crediting.game.coalition import all_coalitions
from crediting.game.enumeration import shapley_values
from crediting.game.game import play
from crediting.game.toy import Additive, UnanimitySum

FEW_KNOWN = Bayesian(0.95, 10.0, 1.25, None)
GAME = UnanimitySum.random(8, (8, 8, 6), seed=3)
SAMPLE = play(GAME, PairedUniform(80, 0, ends=True).sample(8))


@dataclass
class Spy:
    """Always the same credits; remembers what it was shown."""

    credits: np.ndarray
    least: int = 0
    name: ClassVar[str] = "spy"

    def __post_init__(self):
        self.seen = []

    def minimum_coalitions(self, n_players):
        return self.least

    def __call__(self, sample):
        self.seen.append(sample)
        return unknown(self.credits, sample, self.name, "Spied.")


@dataclass
class Demanding(Spy):
    def require(self, coalitions):
        raise LedgerError("others are needed")


@dataclass
class Refusing(Spy):
    def __call__(self, sample):
        raise LedgerError("nothing here that it can use.")


def auto(**candidates):
    return Auto(candidates=candidates, folds=5, seed=0)


def truth(shift=0.0):
    return Spy(GAME.shapley_values + shift * np.linspace(-1, 1, 8))


def test_the_best_predictor_is_chosen_whatever_its_place():
    for candidates in (
        {"wrong": truth(3), "right": truth()},
        {"right": truth(), "wrong": truth(3)},
    ):
        found = auto(**candidates)(SAMPLE)
        assert found.estimator == "auto: right"
        np.testing.assert_array_equal(found.credits, GAME.shapley_values)
        assert found.explanation.startswith("Chose right by mean squared error on held-out")
        assert found.explanation.endswith("Spied.")


def told_errors(found):
    inside = found.explanation.split("(")[1].split(")")[0]
    return {name: float(error) for name, error in (part.split() for part in inside.split(", "))}


@pytest.mark.parametrize("game", [Additive(tuple(np.linspace(-1, 3, 8))), GAME])
def test_errors_differ_by_those_of_the_credits(game):
    """By the variance of membership under the kernel, the same for everybody."""
    sample = play(game, Exhaustive().sample(8))
    off = np.array([1.0, -1, 2, -2, 0.5, -0.5, 0, 0])  # no part that is the same for everybody
    found = auto(right=Spy(game.shapley_values), off=Spy(game.shapley_values + off))(sample)
    assert found.estimator == "auto: right"
    told = told_errors(found)
    harmonic = sum(1 / k for k in range(1, 8))
    # but for the size curve, fitted in each fold
    assert told["off"] - told["right"] == pytest.approx(2 / harmonic * (off @ off), rel=0.15)


def test_shapley_values_are_chosen_where_what_is_added_falls_with_size():
    """Where three of eight would do, other credits predict coalitions of middling size better."""
    weights = np.array([0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.28])

    def game(coalitions):
        return 1 - np.exp(-8 * (coalitions @ weights))

    sample = play(game, Exhaustive().sample(8))
    proper = sample.coalitions
    signs, differences = np.where(proper, 1.0, -1.0), sample.utilities - sample.utilities[::-1]
    np.testing.assert_array_equal(~proper, proper[::-1])
    uniform = 1 / np.array([comb(8, s) for s in proper.sum(axis=1)]) ** 0.5
    handy = np.linalg.lstsq(signs * uniform[:, None], differences * uniform)[0]
    candidates = {"handy": Spy(handy), "right": Spy(shapley_values(game(all_coalitions(8))))}
    assert auto(**candidates)(sample).estimator == "auto: right"
    few = play(game, PairedUniform(80, 0, ends=True).sample(8))
    assert auto(**candidates)(few).estimator == "auto: right"


def test_single_contributors_are_held_out_unless_all_are_there():
    sample = play(GAME, PairedUniform(60, 0, ends=False).sample(8))
    joined = sample.coalitions.sum(axis=1)
    assert 0 < np.isin(joined, (1, 7)).sum() < 16
    spy = truth()
    auto(spy=spy)(sample)
    *folds, _ = spy.seen
    shown = [{row.tobytes() for row in fold.coalitions} for fold in folds]
    assert [sum(row.tobytes() in rows for rows in shown) for row in sample.coalitions] == [4] * 60


def test_an_effect_of_size_is_held_against_nobody():
    t = (2 * SAMPLE.coalitions.sum(axis=1) - 8) / 8
    curved = replace(SAMPLE, utilities=SAMPLE.utilities + 50 * t**3)
    assert auto(wrong=truth(1), right=truth())(curved).estimator == "auto: right"


def test_folds_hold_out_every_inner_pair_once_and_never_an_end():
    spy = truth()
    auto(spy=spy)(SAMPLE)
    *folds, everything = spy.seen
    assert len(folds) == 5
    assert len(everything) == len(SAMPLE)
    shown = [{row.tobytes() for row in fold.coalitions} for fold in folds]
    for row in SAMPLE.coalitions:
        at_the_end = row.sum() in (1, 7)
        times = sum(row.tobytes() in rows for rows in shown)
        assert times == (5 if at_the_end else 4)
    for rows in shown:
        assert all((~np.frombuffer(key, dtype=bool)).tobytes() in rows for key in rows)


def test_probabilities_remain_those_of_a_row_picked_at_random():
    """Kernel regression weighs by them: the expected number of ends stays what it was."""
    spy = truth()
    auto(spy=spy)(SAMPLE)
    fold = spy.seen[0]
    sizes = fold.coalitions.sum(axis=1)
    ends = (sizes == 1) | (sizes == 7)
    assert len(fold) * np.exp(fold.log_probabilities[ends]) == pytest.approx(np.ones(ends.sum()))


def test_ties_and_too_few_pairs_go_to_the_first():
    assert auto(a=truth(), b=truth())(SAMPLE).estimator == "auto: a"
    few = play(GAME, PairedUniform(24, 0, ends=True).sample(8))
    found = auto(a=truth(5), b=truth())(few)
    assert found.estimator == "auto: a"
    assert "fewer than 10 pairs" in found.explanation


def test_with_too_few_pairs_the_first_that_can_use_them_is_taken():
    few = play(GAME, PairedUniform(24, 0, ends=True).sample(8))
    found = auto(no=Refusing(GAME.shapley_values), yes=truth())(few)
    assert found.estimator == "auto: yes"
    assert "the first candidate that can use these coalitions" in found.explanation
    with pytest.raises(LedgerError, match="nothing here"):
        auto(no=Refusing(GAME.shapley_values))(few)


def test_a_candidate_that_cannot_run_is_out_with_its_reason():
    found = auto(
        no=Refusing(GAME.shapley_values), greedy=Spy(GAME.shapley_values, 1000), yes=truth()
    )(SAMPLE)
    assert found.estimator == "auto: yes"
    assert "no is out: nothing here that it can use" in found.explanation
    assert "greedy is out: it needs 1000 coalitions" in found.explanation


def test_if_none_can_run_the_first_says_why():
    with pytest.raises(LedgerError, match="nothing here"):
        auto(no=Refusing(GAME.shapley_values))(SAMPLE)


def test_order_of_rows_does_not_matter():
    order = np.random.default_rng(1).permutation(len(SAMPLE))
    shuffled = replace(
        SAMPLE,
        coalitions=SAMPLE.coalitions[order],
        log_probabilities=SAMPLE.log_probabilities[order],
        utilities=SAMPLE.utilities[order],
    )
    chooser = auto(a=truth(1), b=truth(2))
    assert chooser(shuffled).explanation == chooser(SAMPLE).explanation


def test_real_candidates_are_exact_where_all_is_known():
    chooser = auto(kernel_shap=KernelShap(confidence=0.95, bootstrap=10, seed=0))
    found = chooser(play(GAME, Exhaustive().sample(8)))
    np.testing.assert_allclose(found.credits, GAME.shapley_values, rtol=0, atol=1e-9)
    assert found.estimator == "auto: kernel_shap"


def test_the_least_budget_is_that_of_the_least_demanding():
    assert (
        auto(a=Spy(GAME.shapley_values, 7), b=Spy(GAME.shapley_values, 3)).minimum_coalitions(8)
        == 3
    )


@pytest.mark.parametrize(
    ("settings", "named"), [({"candidates": {}}, "candidates"), ({"folds": 1}, "folds")]
)
def test_settings_out_of_range_are_refused(settings, named):
    with pytest.raises(ConfigError, match=f"estimator.{named}"):
        Auto(**{"candidates": {"a": truth()}, "folds": 5, "seed": 0, **settings})


def test_estimators_of_other_values_are_refused():
    with pytest.raises(ConfigError, match=r"candidates\.loo: .* got one of leave-one-out effects"):
        auto(loo=LeaveOneOut(confidence=0.95), yes=truth())


def test_it_advises_as_the_estimator_that_it_falls_back_on():
    few = PairedUniform(8, 0, ends=False).sample(10).coalitions
    chosen = auto(bayesian=FEW_KNOWN, other=Spy(GAME.shapley_values))
    assert chosen.advice(few) == FEW_KNOWN.advice(few) is not None
    assert auto(other=Spy(GAME.shapley_values), bayesian=FEW_KNOWN).advice(few) is None


def test_settings_of_a_candidate_that_do_not_fit_are_told_before_anything_is_evaluated():
    leaning = replace(FEW_KNOWN, towards=[1.0, 2.0])
    kernel_shap = KernelShap(confidence=0.95, bootstrap=10, seed=0)
    with pytest.raises(ConfigError, match="expected 8 numbers, one for every contributor, got 2"):
        auto(first=kernel_shap, second=leaning).require(SAMPLE.coalitions)
    auto(first=kernel_shap, second=replace(leaning, towards=[1.0] * 8)).require(SAMPLE.coalitions)


def test_a_candidate_without_its_coalitions_is_no_reason_not_to_evaluate():
    halves = SAMPLE.coalitions[::2]  # none has its complement
    auto(bayesian=FEW_KNOWN, demanding=Demanding(GAME.shapley_values), yes=truth()).require(halves)
