"""Comparisons on a game of numbers: what retraining would say is simple arithmetic."""

import csv
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from composing import resolved
from miniature_study import MINIATURE
from safetensors.torch import load_file
from toy_executor import ToyExecutor

from crediting import config
from crediting.errors import ConfigError, DataError
from crediting.estimators.uncertainty import unknown
from crediting.game.coalition import coalition_key
from crediting.ledger import Ledger
from crediting.pipeline.compare import charts
from crediting.pipeline.compare import contest as contest_module
from crediting.pipeline.compare import stage as compare_stage
from crediting.pipeline.compare.agreements import Pace, agreements, paces
from crediting.pipeline.compare.baselines import address_of, read_proxy
from crediting.pipeline.compare.contest import OWN, Contest
from crediting.pipeline.compare.contestants import _read_file, contestants
from crediting.pipeline.compare.counterfactuals import counterfactuals, judged_by_their_own
from crediting.pipeline.compare.judged import common_trainings, judge, over_budget, trained
from crediting.pipeline.compare.material import StudyMaterial
from crediting.pipeline.compare.needs import (
    Lack,
    agreement_coalitions,
    lacks,
    needs_of_methods,
    needs_of_truth,
)
from crediting.pipeline.compare.remarks import _apart, _told
from crediting.pipeline.compare.stage import compare, still_lacking
from crediting.pipeline.compare.tables import runtime_grid
from crediting.pipeline.compare.written import missing_text
from crediting.pipeline.extract.gauges import Gauge
from crediting.pipeline.report.trust import trust
from crediting.pipeline.study import Study

pytestmark = pytest.mark.usefixtures("undrawn")

N = 8
WEIGHTS = np.arange(1.0, N + 1)
CHOSEN = (
    f"partition.contributors={N}",
    "property=[inception_score,fid]",
    "plan.coalitions=60",
    "compare.coalitions=12",
    "compare.trainings=2",
    "compare.agreement=4",
    "compare.random=3",
    "compare.remove=[0.25]",
    "compare.keep=[0.5]",
)


@pytest.fixture
def make(tmp_path, begun):
    """Return a function that makes a study, its variants, and the executor that plays for all."""

    def made(*overrides: str, published=None, **options):
        plain = resolved(*MINIATURE, *CHOSEN, *overrides, outputs=tmp_path / "outputs")
        plain["compare"]["published"] = published or plain["compare"]["published"]
        executor = ToyExecutor(**{"noise": 0.0, **options})
        parts = {**config.build(plain), "executor": executor}
        variants = {
            name: (settings, {**built, "executor": executor})
            for name, (settings, built) in config.methods(plain, parts).items()
        }
        return Study.assemble(plain, parts), variants, executor

    return made


@pytest.fixture
def compared(make):
    """Return a function that runs a comparison and returns its contest and everybody in it."""

    def run(*overrides: str, **options):
        study, variants, _ = make(*overrides, **options)
        compare(study, variants)
        contest = Contest.assemble(study, variants)
        return contest, contestants(contest)

    return run


def table(contest, stem):
    with (contest.own.folder / "compare" / f"{stem}.csv").open() as file:
        return list(csv.DictReader(file))


def test_credits_of_a_sum_are_right_about_every_coalition(compared):
    contest, everybody = compared("method=[leave_one_out,retrain_shapley]", "baseline=[size]")
    judged = {one.contestant.name: one for one in judge(contest, everybody, "inception_score")}
    assert list(judged) == ["own", "leave_one_out", "retrain_shapley", "size"]
    for name in ("own", "leave_one_out", "retrain_shapley"):
        assert judged[name].fits[0.5].credits == pytest.approx(WEIGHTS, rel=1e-4)
        scores = [one.score for one in judged[name].scores.values()]
        # sums of whole weights tie, which estimates that are a hair off do not
        assert scores == pytest.approx([100.0] * 3, abs=0.001 if name == "leave_one_out" else 2.0)
    assert judged["size"].scores[0.5].score < 100
    assert judged["size"].own_lead.difference == pytest.approx(
        judged["own"].scores[0.5].score - judged["size"].scores[0.5].score
    )
    rows = table(contest, "lds_inception_score")
    assert [row["method"] for row in rows] == list(judged)
    assert float(rows[1]["LDS alpha=0.5"]) == pytest.approx(100)


def test_test_coalitions_are_left_out_of_the_fits(compared):
    contest, everybody = compared("design=exhaustive", "estimator=bayesian", "method=[paper]")
    judged = judge(contest, everybody, "fid")
    (own, paper) = judged
    for alpha, rows in contest.tests.items():
        assert own.fits[alpha].left_out == len(rows)
    drawn = [coalition_key(row) for row in contest.methods["paper"].sample.coalitions]
    shared = {coalition_key(row) for row in contest.tests[0.5]}
    assert paper.fits[0.5].left_out == sum(key in shared for key in drawn)
    assert not own.fits[0.5].leaks


def test_who_needs_every_coalition_is_said_to_know_the_tests(compared):
    contest, everybody = compared("design=exhaustive", "estimator=exact")
    (own,) = judge(contest, everybody, "fid")
    assert own.fits[0.5].leaks
    text = (contest.own.folder / "compare/lds_fid.md").read_text()
    for alpha in (0.25, 0.5, 0.75):
        said = f"Fitted to test coalitions of alpha={alpha:g} too, as they need every one: own."
        assert said in text


def test_who_is_shown_to_be_behind_is_named_and_single_trainings_are_told(compared, monkeypatch):
    drawn = {}

    def keep(path, title, x_label, groups, published, highlighted):
        drawn[path.stem] = {alpha: list(scores) for alpha, scores in groups.items()}

    monkeypatch.setattr(charts, "score_bars", keep)
    contest, _ = compared("baseline=[size,pixel_similarity_mean]", "compare.trainings=1")
    judged = table(contest, "lds_inception_score")
    ranked = sorted(judged, key=lambda row: -float(row["LDS alpha=0.5"]))
    best_first = [row["method"] for row in ranked]
    assert drawn["lds_inception_score"]["alpha=0.25"] == best_first
    behind = [row["method"] for row in judged if float(row["own leads by_low"] or -1) > 0]
    text = (contest.own.folder / "compare/lds_inception_score.md").read_text()
    said = "own is shown to be ahead (paired interval above 0) of"
    assert (
        (f"{said} {', '.join(behind)}." in text.replace("\\", "")) if behind else said not in text
    )
    assert "size" in behind
    best_first.remove(OWN)
    assert f"the best baseline is {best_first[0]} with" in text.replace("\\", "")
    assert text.count("1 training of each, so that intervals are over coalitions alone") == 3


def test_counterfactuals_are_sums_of_what_is_left(compared):
    contest, everybody = compared("compare.removals=[own,size]", "baseline=[size]")
    found, random = counterfactuals(contest, everybody, "inception_score")
    everything = WEIGHTS.sum()
    own = {(one.which, one.share): one for one in found if one.name == OWN}
    removed, kept = own["removed", 0.25], own["kept", 0.5]
    assert removed.change.mean == pytest.approx(100 * -(8 + 7) / everything)
    assert kept.change.mean == pytest.approx(100 * -(1 + 2 + 3 + 4) / everything)
    assert (removed.left, kept.left) == (6, 4)
    rows = contest.of_size(6 / 8, 3)
    chance = np.mean([(row @ WEIGHTS - everything) / everything * 100 for row in rows])
    assert {(one.which, one.share): one.change.mean for one in random}[
        "removed", 0.25
    ] == pytest.approx(chance)
    assert removed.beyond_random.mean == pytest.approx(removed.change.mean - chance)


def test_who_is_judged_by_the_trainings_that_its_choice_was_made_by_is_told(compared):
    """Keeping all but one contributor is a coalition that leave-one-out itself retrained."""
    said = "are among those that its credits were estimated from"
    contest, everybody = compared(
        "method=[leave_one_out]", "compare.removals=[own,leave_one_out]", "compare.keep=[0.9]"
    )
    assert list(judged_by_their_own(contest, everybody, "fid")) == ["leave_one_out"]
    text = (contest.own.folder / "compare/counterfactual_fid.md").read_text()
    assert f"judge leave_one_out {said}" in text.replace("\\", "")
    contest, everybody = compared("method=[leave_one_out]", "compare.removals=[own,leave_one_out]")
    assert list(judged_by_their_own(contest, everybody, "fid")) == []
    assert said not in (contest.own.folder / "compare/counterfactual_fid.md").read_text()


def test_shares_that_leave_the_same_contributors_are_drawn_at_one_place(compared, monkeypatch):
    drawn = {}

    def keep(path, title, x_label, y_label, series):
        drawn[path.name] = {one.label: list(one.x) for one in series}

    monkeypatch.setattr(charts, "curve_chart", keep)
    compared("compare.keep=[0.95,0.9,0.5]", "compare.remove=[0.3]")
    curves = drawn["counterfactual_fid.png"]
    assert curves == {
        "own, top removed": [25.0],
        "own, bottom removed": [12.5, 50.0],
        "random": [12.5, 25.0, 50.0],
    }


def test_names_of_what_stands_beside_methods_are_free_for_methods(make, tmp_path, monkeypatch):
    """Scores called random are not chance, and a method called retraining judges nothing."""
    drawn = {}

    def keep(path, title, x_label, y_label, series):
        drawn[path.name] = {one.label: list(one.x) for one in series}

    monkeypatch.setattr(charts, "curve_chart", keep)
    path = scores_file(tmp_path, make()[0].partition.names)
    study, variants, _ = make(
        *(f"+compare.scores.random={path}", "compare.removals=[random]", "property=[fid]"),
        "+method.retraining.finetuning.recipe.steps=1",
    )
    compare(study, variants)
    assert drawn["counterfactual_fid.png"] == {
        "random, top removed": [25.0],
        "random, bottom removed": [50.0],
        "random": [25.0, 50.0],
    }
    contest = Contest.assemble(study, variants)
    told = [(one.name, one.coalitions) for one in paces(contest)]
    assert told == [("retraining", 0), ("own", 60), ("retraining", 60)]


def test_where_lower_is_better_those_who_lower_it_are_on_top(compared):
    contest, everybody = compared()
    found, _ = counterfactuals(contest, everybody, "fid")
    removed = next(one for one in found if one.which == "removed")
    assert removed.change.mean == pytest.approx(100 * -(1 + 2) / WEIGHTS.sum())
    for name, better in (("fid", "fid rises"), ("inception_score", r"inception\_score falls")):
        text = (contest.own.folder / f"compare/counterfactual_{name}.md").read_text()
        assert f"The better the credits, the more {better} without the top contributors." in text


def test_ways_to_a_model_are_held_against_retraining(compared):
    contest, _ = compared("method=[dense_shapley,retrain_shapley]")
    found = agreements(contest, "fid")
    assert [(one.name, one.alpha) for one in found] == [
        (name, alpha) for name in ("own", "dense_shapley") for alpha in (0.25, 0.5, 0.75, None)
    ]
    drawn = contest.own.sample.coalitions
    proper = drawn.any(axis=1) & ~drawn.all(axis=1)
    for one in found:
        assert one.fidelity.n == (4 if one.alpha else len(np.unique(drawn[proper], axis=0)))
        assert one.fidelity.mean_absolute_error == 0
        assert one.better == pytest.approx(one.cheap)
    assert [one.name for one in paces(contest)] == ["retraining", "own", "dense_shapley"]
    assert {one.seconds for one in paces(contest)} == {3600.0}


def test_reports_tell_what_comparing_found_of_their_game(compared, make):
    study, _, _ = make()
    assert "was not checked; stage=compare does" in trust(study)
    contest, _ = compared("method=[retrain_shapley]", noise=2.0)
    (found,) = (one for one in agreements(contest, "fid") if one.alpha == 0.5)
    told = trust(study)  # another study of the same game
    assert "fid: over 4 coalitions utilities rank as those of models trained from scratch" in told
    assert f"with a correlation of {found.fidelity.spearman:.2f} (95 % interval" in told
    assert "too few coalitions to tell whether it is 0.5 or more" in told
    assert (
        trust(contest.methods["retrain_shapley"]) == "Coalitions' models are trained from scratch."
    )


def test_agreement_is_drawn_against_steps_and_credits_held_against_retraining(compared):
    words = ("+method.short.finetuning.recipe.steps=1", "method=[retrain_shapley]")
    contest, _ = compared(*words)
    assert contest.reference == "retrain_shapley"
    rows = table(contest, "agreement_fid")
    assert {(row["method"], row["steps"]) for row in rows} == {("own", "2"), ("short", "1")}
    assert (contest.own.folder / "compare/steps_fid.png").stat().st_size > 0
    credits = {row["method"]: row for row in table(contest, "credits_fid")}
    assert set(credits) == {"own", "short"}
    assert float(credits["own"]["Pearson"]) == pytest.approx(1)
    assert float(credits["own"]["mean absolute difference"]) < 1e-3


def test_other_steps_are_evaluated_where_utilities_are_compared_and_nowhere_else(make):
    study, variants, _ = make("compare.steps=[1,2,3]", "compare.coalitions=6")
    contest = Contest.assemble(study, variants)
    assert list(contest.games) == ["own"]
    assert list(contest.distinct_games) == ["own", "steps_1", "steps_3"]  # the study takes 2
    compare(study, variants)
    assert still_lacking(contest) == []
    compared = {coalition_key(row) for rows in contest.tests.values() for row in rows[:4]}
    for study_of_steps in contest.paced.values():
        game = study_of_steps.game.address
        if study_of_steps.game.finetuning.recipe.steps != 2:
            with Ledger.peek(study.stored_in(game), game.fingerprint) as ledger:
                assert set(ledger.coalitions()) == compared
    rows = table(contest, "agreement_fid")
    assert {(row["method"], row["steps"]) for row in rows} == {
        *(("own", "2"), ("steps_1", "1"), ("steps_3", "3"))
    }
    assert [row["method"] for row in table(contest, "lds_fid")] == ["own"]
    drawn = {row["method"]: row["coalitions"] for row in table(contest, "runtime")}
    assert drawn == {"retraining": "", "own": "60", "steps_1": "", "steps_3": ""}
    assert (study.folder / "compare/steps_fid.png").stat().st_size > 0


def test_credits_by_other_steps_are_compared_where_that_is_asked_for(make, monkeypatch):
    drawn = {}

    def keep(path, title, x_label, y_label, series):
        drawn[path.name] = {one.label: list(one.x) for one in series}

    monkeypatch.setattr(charts, "curve_chart", keep)
    words = ("compare.steps=[1,2,3]", "compare.credits_of_steps=true", "method=[retrain_shapley]")
    study, variants, _ = make(*words)
    contest = Contest.assemble(study, variants)
    assert list(contest.games) == ["own", "retrain_shapley", "steps_1", "steps_3"]  # it takes 2
    assert contest.paced == {}
    compare(study, variants)
    credits = {row["method"]: row for row in table(contest, "credits_fid")}
    assert set(credits) == {"own", "steps_1", "steps_3"}
    assert float(credits["steps_1"]["Pearson"]) == pytest.approx(1)
    assert drawn["steps_fid.png"] == {
        "utilities, as own": [1, 2, 3],
        "credits, as own": [1, 2, 3],
    }
    make(*words, "compare.removals=[steps_1]")


def test_hours_and_scores_grow_with_the_budget(compared):
    contest, everybody = compared("method=[leave_one_out]", noise=3.0)
    judged = judge(contest, everybody, "inception_score")
    curves = over_budget(contest, judged, "inception_score")
    assert list(curves) == ["own"]  # leave_one_out has no budget
    hours = [point.hours for point in curves["own"]]
    assert hours == sorted(hours)
    evaluated = contest.own.coalitions(contest.own.game)
    assert hours[-1] == len(evaluated)  # one hour each
    assert [point.coalitions for point in curves["own"]] == [14, 30, 44, 60]


def test_the_curve_over_the_budget_ends_in_the_score_by_all_coalitions_be_they_odd(compared):
    contest, everybody = compared("plan.coalitions=45", "baseline=[]", noise=3.0)
    judged = judge(contest, everybody, "fid")
    points = over_budget(contest, judged, "fid")[OWN]
    assert [point.coalitions for point in points] == [10, 22, 32, 45]
    assert points[-1].score.score == judged[0].scores[0.5].score


def test_credits_come_nearer_to_those_by_retraining_with_the_budget(compared):
    contest, everybody = compared("method=[retrain_shapley]", noise=3.0)
    found = judge(contest, everybody, "inception_score")
    curves = over_budget(contest, found, "inception_score")
    judged = {one.contestant.name: one for one in found}
    own, exact = (judged[name].fits[0.5].credits for name in ("own", "retrain_shapley"))
    assert curves["own"][-1].error == pytest.approx(np.abs(own - exact).mean())
    assert curves["own"][-1].correlation == pytest.approx(np.corrcoef(own, exact)[0, 1])
    assert curves["retrain_shapley"][-1].error is None  # it would be held against itself
    assert curves["retrain_shapley"][0].error > 0
    rows = table(contest, "budget_inception_score")
    told = [row["mean absolute difference"] for row in rows if row["method"] == "own"]
    assert [float(cell) for cell in told] == pytest.approx([one.error for one in curves["own"]])
    assert (contest.own.folder / "compare/error_inception_score.png").stat().st_size > 0


def test_a_second_comparison_evaluates_nothing_and_says_the_same(make):
    words = ("method=[leave_one_out,dense_shapley]", "baseline=[size,pixel_similarity_mean]")
    study, variants, executor = make(*words)
    compare(study, variants)
    folder = study.folder / "compare"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert executor.evaluated
    study, variants, executor = make(*words)
    compare(study, variants)
    assert executor.evaluated == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interrupted_comparison_says_what_is_missing_and_goes_on(make, capsys):
    words = ("method=[leave_one_out]",)
    study, variants, executor = make(*words, lasts=90)
    with pytest.raises(KeyboardInterrupt):
        compare(study, variants)
    missing = sum(one.missing for one in still_lacking(Contest.assemble(study, variants)))
    study, variants, _ = make(*words, "compare.evaluate=false")
    compare(study, variants)
    printed = capsys.readouterr().out
    assert "Still missing:" in printed
    assert "of work" in printed
    page = (study.folder / "compare/compare.md").read_text()
    assert "Still missing:" in page
    study, variants, executor = make(*words)
    compare(study, variants)
    assert len(executor.evaluated) == missing
    assert still_lacking(Contest.assemble(study, variants)) == []
    assert "Nothing is missing" in capsys.readouterr().out


def test_of_a_half_trained_test_the_trainings_count_that_all_have(make):
    study, variants, _ = make()
    contest = Contest.assemble(study, variants)
    (first, *_), (later, *_) = (
        [need for need in needs_of_truth(contest) if len(need.study.replicates) == times]
        for times in (1, 2)
    )
    from crediting.pipeline.evaluate.stage import evaluate_coalitions

    evaluate_coalitions(first.study, first.spec, first.coalitions)
    assert trained(contest, "fid")[0.25].utilities.shape == (12, 1)
    evaluate_coalitions(later.study, later.spec, later.coalitions[:5])
    assert trained(contest, "fid")[0.25].utilities.shape == (12, 1)
    evaluate_coalitions(later.study, later.spec, later.coalitions)
    assert trained(contest, "fid")[0.25].utilities.shape == (12, 2)
    assert 0.5 not in trained(contest, "fid")


def test_a_failed_training_costs_its_own_coalition_alone():
    assert common_trainings(np.array([0, 3, 3, 2, 3, 3, 3, 3, 3, 3, 3, 3])) == 3
    assert common_trainings(np.array([1, 1, 2, 2, 2, 2, 2, 2, 2, 2])) == 1
    assert common_trainings(np.array([2, 1, 2])) == 1
    assert common_trainings(np.zeros(3, dtype=int)) == 0


def test_an_estimator_that_gives_no_credits_says_why(compared):
    words = ("+method.few.estimator._target_=crediting.estimators.KernelBanzhaf",)
    words += ("+method.few.estimator.confidence=0.95", "+method.few.design.budget=18")
    contest, everybody = compared(*words, "compare.removals=[few]")
    (few,) = (one for one in everybody if one.name == "few")
    assert few.fit("fid", None) is None
    text = (contest.own.folder / "compare/compare.md").read_text()
    assert "Nothing is missing" in text
    assert text.count("few gives no credits: ") == 2  # of either property
    assert few.refusal("fid") in text.replace("\\", "")


def test_what_stands_for_retraining_is_said_and_reports_are_not_told(compared, make):
    words = ("compare.truth.finetuning._target_=crediting.finetuning.Finetune",)
    contest, _ = compared(*words, "compare.truth.finetuning.recipe.steps=3")
    text = (contest.own.folder / "compare/compare.md").read_text()
    assert "Finetune stands for the training from scratch" in text
    assert "was not checked; stage=compare does" in trust(contest.own)


def test_what_was_measured_later_is_no_work(make):
    study, variants, _ = make("property=[fid]")
    compare(study, variants)
    (first, *_) = contestants(Contest.assemble(study, variants))
    study, variants, _ = make("property=[inception_score]", seconds=1.0)
    compare(study, variants)
    (later, *_) = contestants(Contest.assemble(study, variants))
    assert later.hours == first.hours == len(study.coalitions(study.game))


def test_what_is_missing_is_counted_and_priced(make):
    study, variants, _ = make("method=[leave_one_out]")
    contest = Contest.assemble(study, variants)
    first = next(iter(needs_of_methods(contest)))
    distinct = len(study.coalitions(study.game))
    assert lacks([first])[0] == ("credits of own", distinct, None, "evaluations")
    from crediting.pipeline.evaluate.stage import evaluate_coalitions

    evaluate_coalitions(first.study, first.spec, first.coalitions[:10])
    expected = ("credits of own", distinct - 10, distinct - 10.0, "evaluations")
    assert lacks([first])[0] == expected
    part = first._replace(purpose="a part of them", coalitions=first.coalitions[:30])
    assert lacks([part, first]) == [
        ("a part of them", 20, 20.0, "evaluations"),
        ("credits of own", distinct - 30, distinct - 30.0, "evaluations"),
    ]


def test_what_takes_an_unknown_time_is_not_lost_in_the_sum():
    text = missing_text([Lack("tests", 2, 1.0), Lack("credits", 3, None)])
    assert "- tests: 2 evaluations, about 60 minutes of work\n- credits: 3 evaluations\n" in text
    assert text.endswith("Altogether about 60 minutes of work, plus those of unknown duration.")


def test_times_faster_are_the_seconds_of_retraining_over_those_of_a_method():
    known = [Pace("retraining", 100.0, 0, 0.0), Pace("own", 4.0, 60, 0.1)]
    grid = runtime_grid(SimpleNamespace(settings={"published": {}}), known)
    assert [row[:3] for row in grid.rows] == [["retraining", 100.0, 1.0], ["own", 4.0, 25.0]]


def test_a_dry_run_tells_what_is_missing_and_evaluates_nothing(make, capsys, tmp_path):
    shutil.rmtree(tmp_path / "outputs")
    words = ("baseline=[size,mixture_proxy]", "compare.removals=[own,size]")
    study, variants, executor = make("dry_run=true", "stage=compare", *words)
    compare(study, variants)
    told = capsys.readouterr().out
    assert "test coalitions of 0.5 n, training 2: 12 evaluations" in told
    assert "the full model: 1 to be made first" in told
    assert "models to fine-tune: 1 to be made first" in told
    # 6 of 8 at random are tests already where they are as many; the full model is none of them
    assert "counterfactuals, training 1: 1 evaluations" in told
    # a share left out and a share kept, two properties, two trainings
    assert "counterfactuals by own, once its credits are known: 8 evaluations at most" in told
    assert "scores of size, mixture_proxy: 2 computations" in told
    assert "utilities by mixture_proxy: 12 evaluations without training" in told
    assert executor.evaluated == []
    assert not (study.folder / "compare").exists()


# ------------------------------------------------------------------------------ what is published

PUBLISHED = {
    "source": "Somebody, 2020",
    "property": "fid",
    "scores": {"0.5": {"own": [61.5, 2.0]}},
    "removed": {"own": {"0.25": -23.2}, "size": {"0.25": -1.0}},
    "removed_range": {"own": {"0.25": [-23.8, -22.0]}},
    "kept": {"own": {"0.5": 4.0}},
    "seconds": {"own": 100.0, "retraining": 7200.0},
    "speedup": {"own": 71.5},
    "budget": {"own": [[3, 38.0, 0.5], [5, 47.0, 1.5]]},
    "remarks": {"runtime": ["Whose GPU is not known."], "budget": ["Placed by hours."]},
    "agreement": {
        "1": {"pearson": 0.7, "mean_absolute_error": 0.2, "pearson_of_credits": 0.6, "minutes": 3},
        "2": {"pearson": 0.8, "mean_absolute_error": 0.1, "mean_squared_error": 0.05,
              "pearson_of_credits": 0.9, "minutes": 5},
        "4": {"pearson": 0.95, "minutes": 9},
    },
    "parameters": {"full": 35.7, "pruned": 19.8, "removed": 0.44},
    "top": ["ada", "bo"],
    "others": {"clusters of the first": "1, 8"},
    "differences": [],
}  # fmt: skip


def test_published_numbers_stand_beside_ours_where_these_are_the_same_quantity(compared):
    words = ("method=[retrain_shapley]", "compare.steps=[1]", "compare.removals=[own,size]")
    contest, _ = compared(*words, "baseline=[size]", published=PUBLISHED)
    agreement = [
        [row[key] for key in ("method", "alpha", "published pearson")]
        for row in table(contest, "agreement_fid")
    ]
    alphas = ("0.25", "0.5", "0.75")
    expected = [[name, alpha] for name in ("own", "steps_1") for alpha in alphas]
    assert agreement == [
        *([*row, ""] for row in expected[:3]),
        ["own", "as drawn", "0.8"],
        *([*row, "0.7"] for row in expected[3:]),
    ]
    changes = {
        row["by"]: [row[f"published{end}"] for end in ("", "_low", "_high")]
        for row in table(contest, "counterfactual_fid")
        if row["contributors"] == "top 25 % removed"
    }
    assert changes == {
        "own": ["-23.2", "-23.8", "-22.0"],
        "size": ["-1.0", "", ""],
        "random": ["", "", ""],
    }
    credits = {row["method"]: row["published Pearson"] for row in table(contest, "credits_fid")}
    assert credits == {"own": "0.9", "size": ""}
    paces = {row["method"]: row for row in table(contest, "runtime")}
    assert float(paces["steps_1"]["published"]) == 180
    assert float(paces["own"]["published times faster"]) == 71.5
    assert float(paces["steps_1"]["published times faster"]) == 40
    page = contest.own.folder / "compare"
    assert "Whose GPU is not known." in (page / "runtime.md").read_text()
    budget = [
        (row["hours of work"], row["LDS alpha=0.5"], row["LDS alpha=0.5_low"])
        for row in table(contest, "budget_fid")
        if row["method"] == "own, published"
    ]
    assert budget == [("6.0", "38.0", "37.5"), ("10.0", "47.0", "45.5")]
    assert "Placed by hours." in (page / "budget_fid.md").read_text()
    assert "Placed by hours." not in (page / "budget_inception_score.md").read_text()
    assert "published pearson" not in table(contest, "agreement_inception_score")[0]


def test_published_changes_stand_where_as_many_are_removed(make):
    facts = {"removed": {"own": {"0.3": -9.0}}, "kept": {"own": {"0.75": 4.0}}}
    study, variants, _ = make(published={"property": "fid", **facts})
    curves = charts._published_changes(Contest.assemble(study, variants), "fid")
    assert {one.label: (one.x, one.y) for one in curves} == {
        "own, top removed, published": ([30.0], [-9.0]),
        "own, bottom removed, published": ([25.0], [4.0]),
    }


def test_only_steps_are_otherwise_where_published_numbers_of_steps_stand(compared, monkeypatch):
    """A method of another learning rate is neither what was published nor on that curve."""
    drawn = {}

    def keep(path, title, x_label, y_label, series):
        drawn[path.name] = {one.label: list(one.x) for one in series}

    monkeypatch.setattr(charts, "curve_chart", keep)
    words = ("+method.faster.finetuning.recipe.learning_rate=0.5", "compare.steps=[1,4]")
    contest, _ = compared(*words, "property=[fid]", published=PUBLISHED)
    ways = {name: contest.steps_as_own(name) for name in contest.distinct_games}
    assert ways == {"own": 2, "faster": None, "steps_1": 1, "steps_4": 4}
    (published,) = {
        row["published pearson"]
        for row in table(contest, "agreement_fid")
        if row["method"] == "faster"
    }
    paces = {row["method"]: row["published"] for row in table(contest, "runtime")}
    assert (published, paces["faster"]) == ("", "")
    assert drawn["steps_fid.png"] == {"utilities, as own": [1, 2, 4]}


def test_credits_of_steps_of_which_no_correlation_is_published_stand_alone(compared):
    words = ("method=[retrain_shapley]", "compare.steps=[1,4]", "compare.credits_of_steps=true")
    contest, _ = compared(*words, "property=[fid]", published=PUBLISHED)
    credits = {row["method"]: row["published Pearson"] for row in table(contest, "credits_fid")}
    assert credits == {"own": "0.9", "steps_1": "0.6", "steps_4": ""}


def test_a_method_is_judged_after_as_many_coalitions_as_were_published(compared):
    published = {**PUBLISHED, "seconds": {"own": 600.0, "retraining": 7200.0}}
    contest, _ = compared(published=published)
    spent = {
        name: [
            row["coalitions"] for row in table(contest, f"budget_{name}") if row["method"] == "own"
        ]
        for name in ("fid", "inception_score")
    }
    assert spent["fid"] == ["14", "30", "36", "44", "60"]
    assert spent["inception_score"] == ["14", "30", "44", "60"]


def test_what_is_published_besides_has_a_table_of_its_own(compared):
    words = ("method=[retrain_shapley]", "compare.steps=[1]")
    contest, _ = compared(*words, published=PUBLISHED)
    rows = {row["what"]: (row["ours"], row["published"]) for row in table(contest, "published")}
    names = contest.own.partition.names
    whole, pruned = (
        sum(tensor.numel() for tensor in load_file(path / "denoiser.safetensors").values())
        for path in (
            contest.own.store.folder(start.stage, start.fingerprint)
            for start in (contest.truth.game.start, contest.own.game.start)
        )
    )
    assert rows == {
        "parameters before pruning": (f"{whole / 1e6:.3g} million", "35.7 million"),
        "after it": (f"{pruned / 1e6:.3g} million", "19.8 million"),
        "share removed": (f"{100 - 100 * pruned / whole:.1f}%", "44%"),
        "fine-tuning against retraining, 1 steps": ("", "Pearson correlation of credits 0.6"),
        "fine-tuning against retraining, 2 steps": ("", "mean squared error 0.05"),
        "fine-tuning against retraining, 4 steps": (
            "",
            "Pearson correlation 0.95, 9 minutes a coalition",
        ),
        "top contributors for fid": (f"{names[0]}, {names[1]}", "ada, bo"),
        "clusters of the first": ("", "1, 8"),
    }
    folder = contest.own.folder / "compare"
    page = (folder / "compare.md").read_text()
    assert (folder / "published.md").read_text().strip() in page
    assert "Somebody, 2020" in (folder / "published.tex").read_text()


def test_where_nothing_is_published_there_is_no_table_of_it(compared):
    contest, _ = compared()
    assert not (contest.own.folder / "compare/published.csv").exists()


# ------------------------------------------------------------------------------ from outside


def scores_file(tmp_path, names, column="fid", values=None):
    values = values if values is not None else -WEIGHTS
    path = tmp_path / "theirs.csv"
    lines = [f"{name},{value}" for name, value in zip(names, values, strict=True)]
    path.write_text("\n".join([f"contributor,{column}", *lines]) + "\n")
    return path


def test_somebody_elses_scores_are_judged_like_all_others(make, tmp_path):
    study, _, _ = make()
    path = scores_file(tmp_path, study.partition.names)
    node = f"{{file: {path}, note: They were told.}}"
    study, variants, _ = make(f"+compare.scores.theirs={node}")
    compare(study, variants)
    contest = Contest.assemble(study, variants)
    judged = {one.contestant.name: one for one in judge(contest, contestants(contest), "fid")}
    assert judged["theirs"].scores[0.5].score == pytest.approx(100)  # turned around
    assert judged["theirs"].contestant.hours is None
    other = {o.contestant.name: o for o in judge(contest, contestants(contest), "inception_score")}
    assert other["theirs"].scores == {}
    folder = study.folder / "compare"
    assert "theirs: They were told." in (folder / "lds_fid.md").read_text()
    assert "They were told." not in (folder / "lds_inception_score.md").read_text()


def test_scores_are_whose_name_looks_the_same_however_its_accent_is_stored(tmp_path):
    path = scores_file(tmp_path, ["zo\xeb", "ann"], values=[1.0, 2.0])
    found = _read_file("theirs", path, ["ann", "zoe\u0308"], ["fid"])
    assert found["fid"].tolist() == [2.0, 1.0]


def test_credits_that_rank_no_coalition_are_told_to_have_no_score(compared, make, tmp_path):
    path = scores_file(tmp_path, make()[0].partition.names, values=[1.0] * len(WEIGHTS))
    contest, _ = compared(f"+compare.scores.theirs={path}")
    rows = {row["method"]: row for row in table(contest, "lds_fid")}
    assert (rows["theirs"]["LDS alpha=0.5"], rows["own"]["LDS alpha=0.5"] != "") == ("", True)
    text = (contest.own.folder / "compare/lds_fid.md").read_text().replace("\\", "")
    told = [line for line in text.splitlines() if "No score for alpha=0.5" in line]
    assert [line.endswith(": theirs.") for line in told] == [True]


def test_scores_for_one_property_are_not_waited_for_by_others(make, tmp_path):
    path = scores_file(tmp_path, make()[0].partition.names)
    study, variants, _ = make(f"+compare.scores.theirs={path}", "compare.removals=[own,theirs]")
    compare(study, variants)
    assert still_lacking(Contest.assemble(study, variants)) == []
    folder = study.folder / "compare"
    said = "theirs gives no credits: there are no scores for this property"
    assert said in (folder / "lds_inception_score.md").read_text().replace("\\", "")
    assert said not in (folder / "lds_fid.md").read_text().replace("\\", "")


def test_credits_of_somebody_elses_estimator_that_are_no_numbers_are_told(make):
    class Mute:
        name, designs = "mute", ("paired_uniform",)

        def minimum_coalitions(self, n_players):
            return 1

        def __call__(self, sample):
            return unknown(np.full(sample.n_players, np.nan), sample, "mute")

    study, variants, _ = make()
    with pytest.raises(
        ConfigError, match=r"^estimator=mute: expected 8 credits, of which 8 are NaN"
    ):
        compare(replace(study, estimator=Mute()), variants)


@pytest.mark.parametrize(
    ("names", "column", "said"),
    [
        (["ada"] * N, "fid", "each of the 8 contributors"),
        (None, "speed", "a column for one of inception_score, fid"),
    ],
)
def test_scores_that_do_not_fit_are_refused_before_anything_is_evaluated(
    make, tmp_path, names, column, said
):
    study, _, _ = make()
    path = scores_file(tmp_path, names or study.partition.names, column)
    study, variants, executor = make(f"+compare.scores.theirs={path}")
    with pytest.raises(DataError, match=r"compare\.scores\.theirs: .*theirs\.csv") as caught:
        compare(study, variants)
    assert said in str(caught.value)
    assert executor.evaluated == []


def test_a_study_that_was_stopped_is_compared_as_far_as_it_went(compared):
    methods = "method=[retrain_shapley,leave_one_out]"
    contest, everybody = compared(methods, "stop.ci_width=0.5", "stop.budget=null", noise=1.0)
    assert len(contest.games["leave_one_out"].sample) == N  # rules end nothing that needs all
    own = contest.reached()["own"]
    assert len(own.sample) < 60
    assert lacks(needs_of_methods(contest)) == []
    assert "Still missing" not in (own.folder / "compare/compare.md").read_text()
    (row,) = (row for row in table(contest, "runtime") if row["method"] == "own")
    assert row["coalitions"] == str(len(own.sample))
    evaluated = len(own.coalitions(own.game))
    assert float(row["altogether"]) == everybody[0].hours == evaluated  # one hour each
    curves = over_budget(contest, judge(contest, everybody, "fid"), "fid")
    assert [point.coalitions for point in curves["own"]][-1] == len(own.sample)
    assert all(point.error is not None for point in curves["own"])


def test_rules_are_asked_once_of_every_method_where_they_ended(make, monkeypatch):
    asked = []
    original = contest_module.stopped
    monkeypatch.setattr(
        contest_module, "stopped", lambda study: asked.append(study) or original(study)
    )
    words = ("method=[retrain_shapley]", "stop.ci_width=0.5", "compare.keep=[]", "property=[fid]")
    study, variants, _ = make(*words, "compare.trainings=1", noise=1.0)
    compare(study, variants)
    assert len(asked) == 2
    contest = Contest.assemble(study, variants)
    assert len(contest.reached()[OWN].sample) < 60  # not what was known before evaluating
    rows = {row["method"]: row["coalitions"] for row in table(contest, "runtime")}
    assert rows["own"] == str(len(contest.reached()[OWN].sample))


def test_replicates_count_in_what_credits_take_altogether(compared):
    contest, _ = compared("replicates=2")
    (own,) = (row for row in table(contest, "runtime") if row["method"] == "own")
    assert float(own["a coalition"]) == 3600
    assert float(own["altogether"]) == 2 * len(contest.own.coalitions(contest.own.game))


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        ((50, 70), (10, 40), "the intervals do not overlap"),
        ((5, 35), (70, 88), "the intervals do not overlap"),
        ((5, 35), (30, 88), "the intervals overlap"),
        ((math.nan, math.nan), (70, 88), "there are too few coalitions for intervals"),
        ((5, 35), (math.nan, math.nan), "there are too few coalitions for intervals"),
    ],
)
def test_intervals_are_apart_whoever_is_ahead(own, other, said):
    one, two = (SimpleNamespace(low=low, high=high) for low, high in (own, other))
    assert _apart(one, two) == said


def test_a_score_without_an_interval_is_told_alone():
    assert _told(SimpleNamespace(score=61.54, low=46.0, high=72.96)) == "61.5 [46.0, 73.0]"
    assert _told(SimpleNamespace(score=-50.0, low=math.nan, high=math.nan)) == "-50.0"


def test_scores_of_a_spreadsheet_are_read_and_what_is_not_finite_is_refused(make, tmp_path):
    names = make()[0].partition.names
    path = scores_file(tmp_path, names)
    text = path.read_text()
    path.write_text(text, encoding="utf-8-sig")
    study, variants, _ = make(f"+compare.scores.theirs={path}")
    *_, theirs = contestants(Contest.assemble(study, variants))
    assert len(theirs.fit("fid", None).credits) == N
    lines = text.splitlines()
    for word in ("nan", "inf"):
        lines[3] = f"{names[2]},{word}"
        path.write_text("\n".join(lines))
        with pytest.raises(DataError, match=f"a finite number of {names[2]} in the column fid"):
            contestants(Contest.assemble(study, variants))


def test_scores_that_are_no_numbers_or_not_there_are_refused(make, tmp_path):
    study, _, _ = make()
    path = scores_file(tmp_path, study.partition.names, values=["much"] * N)
    (no_table := tmp_path / "no_table.csv").write_text('contributor,fid\n"' + 200_000 * "x")
    for where, said in (
        *((path, "expected a number"), (tmp_path / "none.csv", "cannot be read")),
        (no_table, "cannot be read .field larger"),
    ):
        study, variants, _ = make(f"+compare.scores.theirs={where}")
        with pytest.raises(DataError, match=said):
            compare(study, variants)


# ------------------------------------------------------------------------------ methods


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["+method.mine.generation.steps=3"], r"method\.mine: expected what it has otherwise"),
        (
            ["+method.own.design.budget=8"],
            r"own: used more than once among methods, baselines and scores",
        ),
        (["+compare.scores.mine=a.csv", "+method.mine.design.budget=8"], r"mine: used more than"),
        (["compare.steps=[0]"], r"compare\.steps: expected 1 or more, got 0"),
        (["compare.steps=[1]", "finetuning=influence_unlearning"], r"compare\.steps: this fine"),
        (["compare.steps=[1]", "compare.removals=[steps_1]"], r"there is no steps_1; .* own"),
        (
            ["compare.steps=[1]", "+method.steps_1.design.budget=8"],
            r"steps_1: used more than once among",
        ),
        (["+compare.scores.mine={file: a.csv}"], r"compare\.scores\.mine: expected the path"),
        (["compare.removals=[owm]"], r"compare\.removals: there is no owm; did you mean own\?"),
        (["compare.alphas=[0.5,1.5]"], r"compare\.alphas: expected shares between 0 and 1"),
        (["+method.mine.design.budget=-3"], r"design\.budget"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_key(make, words, said):
    with pytest.raises(ConfigError, match=said):
        make(*words)


@pytest.mark.parametrize(
    ("word", "where"),
    [
        ("method=[lora_shapley]", r"method\.lora_shapley"),
        ("finetuning@compare.truth.finetuning=lora", r"compare\.truth"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_the_model_is_not_made_for_is_refused_before_anything_is_evaluated(
    make, dry, word, where
):
    study, variants, executor = make(word, f"dry_run={dry}")
    with pytest.raises(ConfigError, match=rf"^{where}: finetuning\.targets: .*attention"):
        compare(study, variants)
    assert executor.evaluated == []


@pytest.mark.parametrize("dry", [True, False])
def test_without_a_compiler_nothing_is_evaluated_that_would_be_compiled(make, no_compiler, dry):
    study, variants, executor = make("runtime.compile=default", f"dry_run={dry}")
    with pytest.raises(ConfigError, match=r"^runtime\.compile: expected a C\+\+ compiler"):
        compare(study, variants)
    assert executor.evaluated == []


def test_a_size_below_one_contributor_is_refused(make):
    study, variants, executor = make("compare.alphas=[0.05]")
    with pytest.raises(ConfigError, match=r"compare\.alphas: 0\.05 of 8 contributors is less"):
        compare(study, variants)
    assert executor.evaluated == []


def test_a_method_is_what_it_has_otherwise(make):
    study, variants, _ = make("+method.short.finetuning.recipe.steps=1", "method=[dense_shapley]")
    contest = Contest.assemble(study, variants)
    short, dense = contest.methods["short"], contest.methods["dense_shapley"]
    assert short.game.finetuning.recipe.steps == 1
    assert short.game.start == study.game.start
    assert dense.game.start != study.game.start
    assert dense.game.finetuning.recipe == study.game.finetuning.recipe
    assert contest.truth.game.address.fingerprint not in {
        study.game.address.fingerprint,
        short.game.address.fingerprint,
        dense.game.address.fingerprint,
    }
    assert list(contest.distinct_games) == ["own", "dense_shapley", "short"]
    assert study.config["finetuning"]["recipe"]["steps"] == 2  # nothing of the study was changed


def test_what_baselines_share_counts_for_each_of_them(compared):
    contest, everybody = compared("baseline=[pixel_similarity_mean,size,pixel_similarity_max]")
    store, seconds = contest.own.store, {}
    for name in contest.own.baselines:
        address = address_of(contest.own, name)
        seconds[name] = store.read(address.stage, address.fingerprint)["facts"]["seconds"]
    first, second = seconds["pixel_similarity_mean"], seconds["pixel_similarity_max"]
    assert set(first) == {"generated", "scores by pixel_similarity_mean"}
    assert set(second) == {"generated", "scores by pixel_similarity_max"}
    assert first["generated"] == second["generated"] > 0
    assert set(seconds["size"]) == {"scores by size"}
    for one in everybody:
        if one.name in seconds:
            assert one.hours == sum(seconds[one.name].values()) / 3600


def test_scores_and_utilities_of_a_proxy_are_of_the_same_features(compared, monkeypatch):
    extracted = []

    class Counting(Gauge):
        def features(self, images):
            extracted.append(len(images))
            return super().features(images)

    monkeypatch.setattr("crediting.pipeline.compare.material.Gauge", Counting)
    contest, _ = compared("baseline=[mixture_proxy]")
    assert read_proxy(contest.own, "mixture_proxy", agreement_coalitions(contest)) is not None
    assert len(extracted) == 2  # of training and of generated images


def test_utilities_of_a_proxy_need_no_model_of_when_it_was_scored(make):
    words = ("baseline=[mixture_proxy]", "property=[fid]", "compare.trainings=1")
    study, variants, _ = make(*words, "compare.agreement=3")
    compare(study, variants)
    shutil.rmtree(study.stored_in(study.dense.start))  # forgotten, as one may
    study, variants, _ = make(*words, "compare.agreement=4")
    compare(study, variants)
    tests = agreement_coalitions(Contest.assemble(study, variants))
    assert read_proxy(study, "mixture_proxy", tests) is not None


def test_baselines_are_computed_once_and_their_hours_are_told(compared, monkeypatch):
    contest, everybody = compared("baseline=[size,mixture_proxy]")
    hours = {one.name: one.hours for one in everybody}
    assert hours["size"] >= 0
    assert math.isfinite(hours["mixture_proxy"])

    def refuse(*_):
        raise AssertionError("it was computed already")

    for baseline in contest.own.baselines.values():
        monkeypatch.setattr(type(baseline), "scores", refuse)
    compare_stage.score_baselines(contest.own, StudyMaterial(contest.own))
    fewer = replace(contest.own, baselines={"size": contest.own.baselines["size"]})
    compare_stage.score_baselines(fewer, StudyMaterial(fewer))


def test_tables_of_an_earlier_comparison_do_not_stay(compared, make, capsys):
    contest, _ = compared("method=[retrain_shapley]", "baseline=[size]")
    folder = contest.own.folder / "compare"
    own = folder / "lds_of_mine.txt"
    own.touch()
    (folder / "lds_gone.csv").touch()
    assert (folder / "agreement_fid.csv").exists()
    assert (folder / "counterfactual_fid.png").exists()
    study, variants, _ = make(
        *("property=[fid]", "compare.agreement=0", "compare.remove=[]", "compare.keep=[]")
    )
    compare(study, variants)
    left = {path.name for path in folder.iterdir()}
    assert not {name for name in left if name.startswith("counterfactual")}
    assert not {name for name in left if "inception_score" in name or "gone" in name}
    assert {"lds_fid.csv", "compare.md", own.name} <= left
