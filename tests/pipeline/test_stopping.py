"""Evaluating ends when the rules say so, at the same place whenever the command is repeated."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from toy_executor import ToyExecutor

from crediting.design import PairedUniform
from crediting.errors import ConfigError, EvaluationError, LedgerError
from crediting.estimators import KernelShap
from crediting.game.attribution import Attribution
from crediting.game.coalition import coalition_key
from crediting.game.game import EvaluatedSample, play
from crediting.game.toy import NoisyGame, UnanimitySum
from crediting.ledger import Ledger
from crediting.pipeline import stages
from crediting.pipeline.estimate.stage import estimate, read_sample
from crediting.pipeline.evaluate.stage import evaluate
from crediting.pipeline.evaluate.stopping import (
    GROWTH,
    Look,
    Rules,
    Sureness,
    _look,
    looks_at,
    schedule,
    stopped,
    sureness,
)

CHOSEN = (
    "estimator=bayesian",
    "design=paired_uniform",
    "design.budget=60",
    "partition.contributors=8",
    "property=[fid,diversity]",
)


@pytest.fixture
def toy(study):
    """Return a function that makes studies of 8 contributors, evaluated by a toy executor."""

    def make(*overrides: str, **options):
        return replace(study(*CHOSEN, *overrides), executor=ToyExecutor(**options))

    return make


def keys(sample):
    return {coalition_key(row) for row in sample.coalitions}


def rules(**chosen):
    return Rules(**dict.fromkeys(Rules.__dataclass_fields__) | chosen)


# ------------------------------------------------------------------------------ the schedule


@pytest.mark.parametrize(
    ("n_players", "least", "most"), [(10, 2, 100), (10, 2, 31), (7, 50, 999), (3, 8, 8), (9, 2, 5)]
)
def test_looks_start_late_enough_grow_and_end_with_all(n_players, least, most):
    looks = schedule(n_players, least, most)
    assert looks[-1] == most
    assert looks[0] >= min(max(least, 3 * n_players), most)
    assert all(look % 2 == 0 for look in looks[:-1])
    assert all(a < b <= GROWTH * a + 2 for a, b in pairwise(looks))


def test_a_larger_budget_looks_at_the_same_places_first():
    short, long = schedule(10, 2, 100), schedule(10, 2, 1000)
    assert long[: len(short) - 1] == short[:-1]


def test_a_budget_beyond_the_design_is_that_of_the_design():
    for chosen in ({}, {"hours": 1.0}, {"ci_width": 0.5}):
        assert rules(budget=70, **chosen).looks(8, 2, 60) == rules(**chosen).looks(8, 2, 60)


def test_hours_are_looked_at_long_before_anybody_can_be_sure():
    sure = rules(ci_width=0.5)
    both, alone = replace(sure, hours=2.0), replace(sure, ci_width=None, hours=2.0)
    for chosen in (both, alone):
        looks = chosen.looks(258, 2, 1000)
        late = sure.looks(258, 2, 1000)
        assert looks[-len(late) :] == late
        assert looks[0] == 258
        assert all(a < b <= GROWTH * a + 2 for a, b in pairwise(looks))
        assert chosen.looks(258, 400, 1000)[0] == 400  # fewer give no credits at all


# ------------------------------------------------------------------------------ the rules


def look(coalitions=50, hours=1.0, **properties):
    return Look(coalitions, hours, {n: Sureness(*sure) for n, sure in properties.items()})


def reason(looks, **chosen):
    return rules(**chosen).reason(looks)


def test_without_rules_there_is_one_look_and_no_reason():
    never = rules()
    assert not never
    assert never.looks(10, 2, 100) == [100]
    assert never.reason([look(fid=(0.0, 1.0)), look(fid=(0.0, 1.0))]) == ""


def test_the_estimator_must_be_sure_at_two_looks_in_a_row():
    sure, unsure = look(fid=(0.1, 0.9, 0.95)), look(fid=(0.2, 0.8, 0.94))
    for rule in ({"ci_width": 0.1}, {"rank_stability": 0.9}, {"top_probability": 0.95}):
        assert [bool(reason(looks, **rule)) for looks in ([sure], [sure, unsure, sure])] == [0, 0]
        assert f"stop.{next(iter(rule))}" in reason([unsure, sure, sure], **rule)


def test_one_rule_must_hold_for_every_property():
    narrow_and_stable = look(fid=(0.1, 0.1), diversity=(0.9, 0.9))
    assert not reason([narrow_and_stable] * 2, ci_width=0.1, rank_stability=0.9)
    assert reason([look(fid=(0.1, 0.1), diversity=(0.1, 0.1))] * 2, ci_width=0.1)


def test_what_is_unknown_never_stops():
    unknown = look(fid=(), hours=0.0)
    known = {"ci_width": 1e9, "rank_stability": 1e-9, "top_probability": 0.51}
    assert not reason([unknown] * 3, **known, hours=1.0, budget=51)


def test_hours_and_budget_stop_at_once():
    assert "stop.hours=1 " in reason([look(hours=1.0)], hours=1.0)
    assert not reason([look(hours=0.99)], hours=1.0)
    assert "stop.budget=50 " in reason([look(coalitions=50)], budget=50)


def test_nothing_to_share_out_is_no_narrow_interval(study):
    made = study("property=[fid]")
    worthless = play(lambda rows: np.zeros(len(rows)), made.sample)
    assert math.isnan(sureness(made.estimator(worthless), 3, True).ci_width)


@pytest.mark.parametrize("unit", [1.0, -30.0])
def test_the_mean_width_is_held_against_what_there_is_to_share_out_in_whatever_direction(unit):
    """The FID of the full model is lower than that of nobody's: that is no reason to stop."""
    game = UnanimitySum.random(8, (8, 8, 12), seed=0)
    sample = play(lambda rows: unit * game(rows), PairedUniform(40, 0, ends=True).sample(8))
    found = KernelShap(0.95, 200, 0)(sample)
    worth = unit * game(np.ones((1, 8), bool))[0]
    assert found.v_full - found.v_empty == pytest.approx(worth)
    width = np.mean(found.ci_high - found.ci_low) / abs(found.credits.sum())
    known = sureness(found, 3, higher_is_better=True)
    assert known.ci_width == pytest.approx(width)
    assert width > 0.01
    assert known.rank_stability == pytest.approx(found.rank_stability())


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_top_is_as_sure_as_its_most_doubtful_contributor(higher_is_better):
    """Credits of known draws: the second and third of four change places in one draw of ten."""
    draws = np.array([[4.0, 3.0, 2.0, 1.0]] * 9 + [[4.0, 2.0, 3.0, 1.0]])
    draws *= 1 if higher_is_better else -1
    alike = (draws[0],) * 5
    found = Attribution(*alike, draws, 0.95, 0.0, 10.0, "toy", n_coalitions=10, explanation="")
    of_top = [sureness(found, top, higher_is_better).top_probability for top in (1, 2, 3)]
    assert of_top == pytest.approx([1.0, 0.9, 1.0])


# ------------------------------------------------------------------------------ studies


def test_without_rules_everything_is_evaluated_in_one_batch(toy, capsys):
    plain = toy()
    evaluate(plain)
    assert len(plain.executor.evaluated) == 60 + 2
    assert plain.executor.batches == 1
    assert stopped(plain) is plain
    assert "stop:" not in capsys.readouterr().err


def test_a_budget_ends_it_as_a_smaller_design_would(toy, capsys):
    short = toy("stop.budget=40")
    evaluate(short)
    assert len(short.executor.evaluated) == 40 + 2
    assert "ended after 40 of 60 coalitions: stop.budget=40 is spent" in capsys.readouterr().err
    smaller, ended = toy("design.budget=40"), stopped(short)
    for name, finding in estimate(smaller).items():
        again = estimate(ended)[name]
        np.testing.assert_array_equal(again.attribution.credits, finding.attribution.credits)
        np.testing.assert_array_equal(
            again.sample.log_probabilities, finding.sample.log_probabilities
        )


def test_narrow_intervals_end_it_and_the_same_command_again_evaluates_nothing(toy, capsys):
    trial = toy()
    evaluate(trial)
    places = looks_at(toy("stop.ci_width=1e-9"))
    widths = [
        max(sureness(f.attribution, 3, True).ci_width for f in found.values())
        for found in (estimate(trial.with_budget(budget)) for budget in places)
    ]
    assert widths == sorted(widths, reverse=True)  # so that the rule holds from one look on
    rule = f"stop.ci_width={(widths[0] + widths[1]) / 2}"
    for path in trial.stored_in(trial.game.address).iterdir():
        path.unlink()
    narrow = toy(rule)
    evaluate(narrow)
    assert places[2] < 60
    assert set(narrow.executor.evaluated) == keys(narrow.with_budget(places[2]).sample) | {
        coalition_key(row) for row in narrow.ends
    }
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stop:")]
    assert [line.split()[1] for line in told] == [*map(str, places[:3]), "ended"]
    assert "not reached: stop.ci_width" in told[0]
    assert "missing" not in told[1]

    again = toy(rule)
    evaluate(again)
    assert again.executor.evaluated == []
    credits = [estimate(stopped(one))["fid"].attribution.credits for one in (narrow, again)]
    np.testing.assert_array_equal(*credits)
    assert len(stopped(again).sample) == places[2]


def test_where_no_rule_holds_it_says_that_these_are_all(toy, capsys):
    evaluate(toy("stop.ci_width=1e-9"))
    assert "stop: ended after 60 of 60 coalitions: these are all\n" in capsys.readouterr().err


def test_a_stable_ranking_ends_it(toy):
    stable = toy("stop.rank_stability=0.9", noise=0.0)
    evaluate(stable)
    assert len(stopped(stable).sample) == looks_at(stable)[1] < 60


def test_it_ends_where_it_is_known_who_the_top_are(toy):
    rule = ("stop.top_probability=0.9", "report.top=2")
    sure = toy(*rule, noise=0.0)
    evaluate(sure)
    ended = stopped(sure)
    assert len(ended.sample) < 60
    places = looks_at(sure)
    for budget in places[places.index(len(ended.sample)) - 1 :][:2]:
        for name, finding in estimate(sure.with_budget(budget)).items():
            better = sure.properties[name].higher_is_better
            among = finding.attribution.top_probabilities(2, better)
            assert ((among >= 0.9) | (among <= 0.1)).all()


def test_the_top_are_those_of_each_property_whichever_way_is_better(toy):
    noisy = toy("report.top=2", noise=1.0)
    evaluate(noisy)
    found = _look(noisy).properties
    for name, finding in estimate(noisy).items():
        better = noisy.properties[name].higher_is_better
        assert found[name] == sureness(finding.attribution, 2, better)
    assert found["fid"].top_probability != found["diversity"].top_probability


def test_recorded_hours_end_it_whatever_the_clock_says(toy, capsys):
    hours = toy("stop.hours=28", width=2)
    evaluate(hours)
    assert "nan" not in capsys.readouterr().err  # of the first looks, which nobody is asked at
    places = looks_at(hours)
    assert places[:6] == [
        8,
        10,
        14,
        18,
        24,
        30,
    ]  # and the two ends: 26 and 32 hours of work, whoever does it
    assert len(hours.executor.evaluated) == 30 + 2
    quick = toy("stop.hours=28", seconds=0.0)
    evaluate(quick)
    assert quick.executor.evaluated == []
    assert len(stopped(quick).sample) == 30


def test_what_other_properties_take_later_moves_no_end(toy):
    hours = toy("stop.hours=28", "property=[fid]")
    evaluate(hours)
    evaluate(toy("property=[diversity]", seconds=36_000.0))
    assert len(stopped(hours).sample) == 30


@pytest.mark.parametrize("endpoints", ["same", "dense"])
def test_the_time_of_both_ends_counts_wherever_they_come_from(toy, endpoints):
    hours = toy("stop.hours=26", f"endpoints={endpoints}")
    evaluate(hours)
    assert len(hours.executor.evaluated) == 24 + 2


def test_replicates_take_their_time(toy, capsys):
    twice = toy("stop.hours=52", "replicates=2")
    evaluate(twice)
    assert len(twice.executor.evaluated) == 2 * (24 + 2)
    said = "evaluate: 10 distinct coalitions x 2 replicates, 0 reused, 20 to evaluate"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("lasts", [1, 26, 30])
def test_interrupted_and_started_again_it_ends_at_the_same_place(toy, tmp_path, lasts):
    rules = ("stop.hours=28",)
    undisturbed = toy(*rules, f"paths.outputs={tmp_path / 'undisturbed'}")
    evaluate(undisturbed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(toy(*rules, lasts=lasts))
    resumed = toy(*rules)
    evaluate(resumed)
    assert len(resumed.executor.evaluated) == len(undisturbed.executor.evaluated) - lasts
    ended = [stopped(one) for one in (undisturbed, resumed)]
    assert len(ended[0].sample) == len(ended[1].sample) < 60
    credits = [estimate(one)["fid"].attribution.credits for one in ended]
    np.testing.assert_array_equal(*credits)


def test_failures_stop_the_first_batch_or_are_left_out(toy, capsys):
    bad = coalition_key(toy().sample.coalitions[20])
    strict = toy("stop.ci_width=0.5", failing=[bad])
    with pytest.raises(EvaluationError, match="2 evaluations failed"):
        evaluate(strict)
    assert len(strict.executor.evaluated) == 24 + 2
    lax = toy("stop.ci_width=0.5", "allow_missing=true", failing=[bad])
    evaluate(lax)
    assert lax.executor.evaluated.count(bad) == 1  # though there were three batches
    ended = stopped(lax)
    assert len(ended.sample) == 38  # of the first 24 too few are left
    capsys.readouterr()
    assert len(estimate(ended)["fid"].sample) == 37
    assert "fid without 1 of 38 coalitions" in capsys.readouterr().err


def test_too_few_that_succeed_are_no_reason_to_stop(toy):
    rows = toy().sample.coalitions
    failing = [coalition_key(row) for row in rows[:30]]
    chosen = ("stop.ci_width=100", "allow_missing=true", "property=[fid]")
    patient = toy(*chosen, failing=failing)
    evaluate(patient)
    ended = stopped(patient).sample
    assert len(ended) - len(failing) >= 3 * 8


def test_what_was_never_evaluated_is_no_failure(toy):
    evaluate(toy("design.budget=26"))
    more = toy("stop.ci_width=100", "allow_missing=true")
    assert len(stopped(more).sample) == len(more.sample)
    with pytest.raises(LedgerError, match=r"\d+ of 60 coalitions are not evaluated yet"):
        estimate(more)


def test_a_design_without_a_budget_and_a_budget_below_the_estimator_are_refused(study):
    with pytest.raises(ConfigError, match=r"stop\.hours: design=exhaustive always evaluates all"):
        study("estimator=exact", "design=exhaustive", "stop.hours=1")
    with pytest.raises(ConfigError, match=r"stop\.budget: .*needs at least 2 coalitions.* got 1"):
        study("estimator=kernel_shap", "design=shapley_kernel", "stop.budget=1")


def test_the_real_thing_stops_too(prepared, trainings, capsys):
    short = prepared("stop.budget=6", "design.budget=12", "property=[fid]")
    trainings.clear()
    stages.run(short, "evaluate")
    stages.run(short, "estimate")
    assert "6 coalitions" in capsys.readouterr().out
    ended = stopped(short)
    assert len(ended.sample) == 6
    assert len(trainings) == len(ended.coalitions(ended.game)) - 1  # nobody's model needs none
    address = short.game.address
    with Ledger(short.stored_in(address) / "ledger.sqlite", address.fingerprint) as ledger:
        assert set(ledger.coalitions()) == {coalition_key(r) for r in ended.coalitions(ended.game)}
    assert len(read_sample(ended, "fid")) == 6


# ------------------------------------------------------------------------------ honesty


def course(design, estimator, seed):
    """Return the looks at a noisy game of 8 players, and the coverage of the intervals at each."""
    n_players, noise = 8, 0.3
    signed = UnanimitySum.random(n_players, (8, 16, 8), seed)
    game = replace(signed, weights=tuple(np.abs(signed.weights)))
    known = play(game, replace(design, seed=seed).sample(n_players))
    utilities = NoisyGame(game, noise, seed)(known.coalitions)
    looks, coverages = [], []
    for budget in schedule(n_players, estimator.minimum_coalitions(n_players), design.budget):
        part = replace(design, seed=seed, budget=budget).sample(n_players)
        ends = (known.v_empty, known.v_full)
        sample = EvaluatedSample(*vars(part).values(), utilities[:budget], *ends, noise**2)
        found = estimator(sample)
        covered = (found.ci_low <= game.shapley_values) & (game.shapley_values <= found.ci_high)
        looks.append(Look(budget, 0.0, {"": sureness(found, 3, higher_is_better=True)}))
        coverages.append(covered.mean())
    return looks, coverages


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("estimator=bayesian", "design=paired_uniform"),
        ("estimator=kernel_shap", "design=shapley_kernel", "estimator.bootstrap=300"),
    ],
)
def test_intervals_hold_what_they_promise_where_a_rule_ended_it(study, options):
    made = study(*options, "design.budget=120", "partition.contributors=8")
    courses = [course(made.design, made.estimator, seed) for seed in range(150)]
    for rule, place in (
        ("ci_width", 2),
        ("ci_width", 4),
        ("rank_stability", 3),
        ("top_probability", 3),
    ):
        usual = np.median([getattr(looks[place].properties[""], rule) for looks, _ in courses])
        ended = [
            next(
                (c for k, c in enumerate(covered) if reason(looks[: k + 1], **{rule: usual})), None
            )
            for looks, covered in courses
        ]
        coverage = [covered for covered in ended if covered is not None]
        assert len(coverage) > 75
        error = np.std(coverage) / np.sqrt(len(coverage))
        assert 0.92 - error < np.mean(coverage) < 0.98 + error
