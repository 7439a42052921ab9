"""Calibrations on a game of numbers, in which it is known what each setting does to utilities."""

import csv
import math
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
from composing import resolved
from miniature_study import MINIATURE
from toy_executor import ToyExecutor

from crediting import config
from crediting.agreement import Component, VarianceComponents
from crediting.errors import ConfigError
from crediting.estimators.uncertainty import unknown
from crediting.game.coalition import coalition_from_key, coalition_key
from crediting.interfaces import Outcome
from crediting.pipeline.calibrate import stage as calibrate_stage
from crediting.pipeline.calibrate.choices import Choice, choices
from crediting.pipeline.calibrate.costs import Costs, Work, costs, fitted_rates, work_of
from crediting.pipeline.calibrate.image_parts import PartFactory
from crediting.pipeline.calibrate.judged import Agreement, Judged
from crediting.pipeline.calibrate.proposal import Found, Tried, combined_choices
from crediting.pipeline.calibrate.settings import Setting, Settings, proper_coalitions
from crediting.pipeline.calibrate.stage import calibrate, found_by
from crediting.pipeline.calibrate.variance import best_spent, halves
from crediting.pipeline.evaluate.stage import evaluate
from crediting.pipeline.study import Study

N, IMAGES = 8, 16
pytestmark = pytest.mark.usefixtures("undrawn")

CHOSEN = (
    f"partition.contributors={N}",
    "property=[fid]",
    "plan.coalitions=60",
    "plan.finetuning_steps=8",
    "generation.steps=8",
    f"generation.images={IMAGES}",
    "calibrate.coalitions=20",
    "calibrate.finetuning_steps=[0.5]",
    "calibrate.generation_steps=[4]",
    "calibrate.images=[0.5]",
)
OVERHEAD, TRAINING_STEP, CALL = 2.0, 0.5, 0.125
BOTH = "finetuning.recipe.steps=4 generation.steps=4"
ALL = f"{BOTH} generation.images=8"


class NumbersExecutor(ToyExecutor):
    """Evaluates sums of weights, with luck of training and of every image.

    `spoil` is given the finetuning steps and the generation steps of a study, and the utility of a
    coalition, and returns what becomes of that. It is interrupted before evaluation `lasts`.
    """

    def __init__(self, spoil, training=0.3, image=0.1, failing=None, lasts=10**9):
        super().__init__(lasts=lasts)
        self.spoil, self.training, self.image, self.failing_steps = spoil, training, image, failing
        self.read: set[str] = set()  # prompts

    def run(self, make_evaluator, jobs):
        study, spec = make_evaluator.study, make_evaluator.spec
        self.read.add(study.prompts.fingerprint)
        part = isinstance(make_evaluator, PartFactory)
        first, last = 0, study.generation.images
        if part:
            first, last = make_evaluator.first, make_evaluator.last
        steps = spec.finetuning.recipe.steps
        for task in chain.from_iterable(jobs):
            if len(self.evaluated) >= self.lasts:
                raise KeyboardInterrupt
            where = spec.address.fingerprint, task.coalition, task.replicate
            self.evaluated.append((*where, first, last))
            row = coalition_from_key(task.coalition)
            luck = np.random.default_rng([task.replicate, *row.astype(int)])
            value = float(row @ np.arange(1.0, N + 1)) + self.training * luck.normal()
            value += self.image * luck.normal(size=study.generation.images)[first:last].mean()
            failed = self.failing_steps == steps
            values = dict.fromkeys(
                task.properties, self.spoil(steps, study.generation.steps, value)
            )
            calls = study.generation.steps * study.generation.images
            seconds = 0.01 if part else OVERHEAD + TRAINING_STEP * steps + CALL * calls
            failures = {"": "boom"} if failed else {}
            yield Outcome(task, {} if failed else values, failures, 0, seconds, "toy")


def harmless(finetuning, generation, value):
    return value + 1e-3 * math.sin(1e3 * value * (finetuning + generation))


def reversing(reverses):
    return lambda finetuning, generation, value: (
        -value if reverses(finetuning, generation) else harmless(finetuning, generation, value)
    )


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes a study, what alters it, and the executor that plays.

    No model is trained: numbers need none.
    """
    for name in ("encode", "extract", "train", "prune"):
        monkeypatch.setattr(calibrate_stage, name, lambda study: None)

    def made(*overrides: str, spoil=harmless, **options):
        keys = {word.partition("=")[0] for word in overrides}
        chosen = [word for word in CHOSEN if word.partition("=")[0] not in keys]
        plain = resolved(*MINIATURE, *chosen, *overrides, outputs=tmp_path / "outputs")
        executor = NumbersExecutor(spoil, **options)
        parts = {**config.build(plain), "executor": executor}
        return Study.assemble(plain, parts), config.alterations(plain, parts), executor

    return made


@pytest.fixture
def found(make):
    """Return a function that calibrates a study and returns what was found."""

    def find(*overrides: str, **options):
        study, alter, _ = make(*overrides, **options)
        return found_by(Settings.assemble(study, alter))

    return find


def read_settings(study):
    with (study.folder / "calibrate/settings_fid.csv").open() as file:
        return {row["setting"]: row for row in csv.DictReader(file)}


# ------------------------------------------------------------------------------ the proposal


def test_all_that_hardly_matters_is_proposed_together(make, capsys):
    study, alter, _ = make()
    before = repr(study.config)
    calibrate(study, alter)
    assert f"\n    credit ... {ALL}\n" in capsys.readouterr().out
    rows = read_settings(study)
    assert [row["agrees"] for row in rows.values()] == ["", "yes", "yes", "yes", "yes"]
    assert rows[ALL]["credits inside"] == f"{N} of {N}"
    assert (study.folder / "calibrate/agreement_fid.png").stat().st_size > 0
    assert ALL.replace("_", r"\_") in (study.folder / "calibrate/calibrate.md").read_text()
    assert repr(study.config) == before


def test_tables_of_an_earlier_calibration_do_not_stay(make):
    study, alter, _ = make()
    folder = study.folder / "calibrate"
    folder.mkdir(parents=True)
    earlier = ("settings_gone.csv", "agreement_gone.png", "variance_gone.md", "of_mine.md")
    for name in earlier:
        (folder / name).write_text("earlier")
    calibrate(study, alter)
    assert [name for name in earlier if (folder / name).exists()] == ["of_mine.md"]
    assert (folder / "variance_fid.csv").exists()


def test_a_calibration_cut_short_leaves_no_page_of_other_tables(make, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    study, alter, _ = make()
    page = study.folder / "calibrate/calibrate.md"
    page.parent.mkdir(parents=True)
    page.write_text("earlier")
    monkeypatch.setattr("crediting.pipeline.calibrate.written.curve_chart", interrupt)
    with pytest.raises(KeyboardInterrupt):
        calibrate(study, alter)
    assert (page.parent / "settings_fid.csv").exists()
    assert not page.exists()


def test_what_reverses_ranks_is_never_proposed(make, capsys):
    words = ("calibrate.images=[]",)
    study, alter, _ = make(*words, spoil=reversing(lambda finetuning, _: finetuning < 8))
    calibrate(study, alter)
    assert "\n    credit ... generation.steps=4\n" in capsys.readouterr().out
    rows = read_settings(study)
    assert rows["finetuning.recipe.steps=4"]["agrees"] == "no"
    assert float(rows["finetuning.recipe.steps=4"]["Spearman"]) < -0.9
    assert BOTH not in rows


def test_wide_intervals_do_not_excuse_reversed_ranks(found):
    lucky = found(
        "calibrate.images=[]", spoil=reversing(lambda *steps: min(steps) < 8), training=300.0
    )
    assert [one.judgements["fid"].inside for one in lucky.tried] != [0, 0]
    assert lucky.proposal is None


def test_of_a_combination_that_fails_the_cheapest_part_is_left(found):
    together = found(spoil=reversing(lambda *steps: max(steps) < 8))
    assert together.tried[-1].setting.name == ALL
    assert not together.tried[-1].agrees(0.8)
    cost = together.costs.by_setting
    assert together.proposal.setting.name == min(list(cost)[1:-1], key=cost.get)
    assert together.proposal.setting.name in ("generation.steps=4", "generation.images=8")


def test_of_several_values_the_least_that_agrees_is_taken(found):
    several = found(
        "calibrate.generation_steps=[1,2,4,6]",
        "calibrate.finetuning_steps=[]",
        "calibrate.images=[]",
        spoil=reversing(lambda _, generation: generation < 2),
    )
    assert several.proposal.setting.name == "generation.steps=2"


def tried(factor, amount, seconds, agrees=True):
    choice = Choice(factor, (f"{factor}={amount}",), "generation", {}, None, amount)
    judged = Judged(Agreement(1.0, 1.0, 1.0, 0.0), N if agrees else 0, N, 0.0)
    return Tried(Setting((choice,), None, None), seconds, {"fid": judged})


def test_the_least_of_every_factor_that_agrees_is_combined():
    by_itself = [tried("steps", 4, 3.0), tried("steps", 2, 2.0), tried("steps", 1, 1.0, False)]
    assert combined_choices(by_itself, 0.9) == []
    both = combined_choices([*by_itself, tried("images", 8, 4.0)], 0.9)
    assert [choice.amount for choice in both] == [2, 8]


@pytest.mark.parametrize(
    ("seconds", "proposed"),
    [((10.0, 12.0), None), ((12.0, 8.0, 6.0), 6.0), ((math.nan, 8.0), 8.0)],
)
def test_what_takes_as_long_as_the_study_is_not_proposed(seconds, proposed):
    settings = [tried("steps", place, one) for place, one in enumerate(seconds, 1)]
    threshold = SimpleNamespace(threshold=0.9)
    found = Found(threshold, settings, {}, Costs(10.0, {}, math.nan), {}, {})
    assert (found.proposal and found.proposal.seconds) == proposed


def test_what_takes_a_time_that_nobody_knows_is_proposed_where_nothing_else_is_cheaper():
    settings = [tried("steps", 1, math.nan), tried("steps", 2, 10.0)]
    threshold = SimpleNamespace(threshold=0.9)
    found = Found(threshold, settings, {}, Costs(10.0, {}, math.nan), {}, {})
    assert found.proposal is settings[0]


def test_where_nothing_agrees_nothing_is_proposed(make, capsys):
    study, alter, _ = make("calibrate.images=[]", spoil=reversing(lambda *steps: min(steps) < 8))
    calibrate(study, alter)
    assert "stay with the study's own" in capsys.readouterr().out


def test_a_setting_whose_coalitions_fail_is_no_harm(make):
    study, alter, _ = make(failing=4)
    calibrate(study, alter)
    rows = read_settings(study)
    assert rows["finetuning.recipe.steps=4"]["agrees"] == "failed"
    assert rows["generation.steps=4 generation.images=8"]["agrees"] == "yes"


# ------------------------------------------------------------------------------ the settings


def test_a_proposal_is_the_study_that_one_would_type(make):
    study, alter, _ = make()
    settings = Settings.assemble(study, alter)
    several = settings.setting([one.chosen[0] for one in settings.tried])
    assert several.name == ALL
    typed, _, _ = make(*ALL.split())
    assert several.study.game.address.fingerprint == typed.game.address.fingerprint
    assert settings.own.study.game.address == study.game.address


def test_another_sampler_keeps_the_settings_of_the_study(make):
    words = ("generation.steps=40", "generation.images=20", "generation.batch_size=4")
    asked = ("calibrate.generation_steps=[]", "calibrate.sampler_steps=[15,25,50]")
    study, alter, _ = make("generation=ddim", *asked, *words)
    settings = Settings.assemble(study, alter)
    names = [one.name for one in settings.tried]
    assert "generation=dpm_solver generation.steps=15" in names
    assert "generation=dpm_solver generation.steps=25" in names
    assert settings.left_out == [
        "Not tried, as the study itself has 40 generation steps: generation=dpm_solver "
        "generation.steps=50."
    ]
    typed, _, _ = make("generation=dpm_solver", "generation.steps=15", "generation.images=20")
    tried = settings.tried[names.index("generation=dpm_solver generation.steps=15")]
    assert tried.study.game.address.fingerprint == typed.game.address.fingerprint
    both = [tried.chosen[0], settings.tried[names.index("generation.images=10")].chosen[0]]
    for chosen in (both, both[::-1]):
        together = settings.setting(chosen).study.generation
        assert (together.steps, together.images, together.at_once("cpu")) == (15, 10, 4)
        assert type(together) is type(typed.generation)


def test_what_cannot_be_sampled_is_left_out_before_anything_is_evaluated(make, capsys):
    """Of 1000 timesteps of a linear schedule, DPM-Solver++ cannot take 50 different ones."""
    words = ("generation=ddim", "generation.steps=60", "calibrate.sampler_steps=[20,50]")
    none = ("calibrate.finetuning_steps=[]", "calibrate.generation_steps=[]", "calibrate.images=[]")
    study, alter, executor = make(*words, *none)
    calibrate(study, alter)
    assert list(read_settings(study))[1:] == ["generation=dpm_solver generation.steps=20"]
    said = "Not tried: generation=dpm_solver generation.steps=50, as generation.steps: 50 steps do"
    assert said in capsys.readouterr().out
    tried = Settings.assemble(study, alter).tried
    games = {one.study.game.address.fingerprint for one in tried}
    assert {game for game, *_ in executor.evaluated} - games == {study.game.address.fingerprint}


def test_what_is_not_less_is_left_out_and_shares_are_counted(make):
    study, _, _ = make(
        "calibrate.finetuning_steps=[8,0.25,2,9]",
        "calibrate.generation_steps=[0.01]",
        "calibrate.images=[1,100]",
    )
    found, left_out = choices(study.config)
    names = [one.overrides[0] for one in found]
    assert names == ["finetuning.recipe.steps=2", "generation.steps=1", "generation.images=1"]
    assert left_out == [
        "Not tried, as the study itself has 8 fine-tuning steps: finetuning.recipe.steps=8, "
        "finetuning.recipe.steps=9.",
        "Not tried, as the study itself has 8 generation steps: generation.steps=15, "
        "generation.steps=20, generation.steps=25.",
        "Not tried, as the study itself has 16 images: generation.images=100.",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["estimator=kernel_banzhaf", "design=bernoulli", "calibrate.coalitions=17"],
            r"calibrate\.coalitions: estimator=kernel_banzhaf needs at least 18 coalitions for 8",
        ),
        (
            ["estimator=exact", "design=exhaustive", "calibrate.coalitions=255"],
            r"calibrate\.coalitions: estimator=exact needs at least 256",
        ),
        (
            ["design=exhaustive"],
            r"calibrate\.coalitions: design=exhaustive has no budget, so all of its 256",
        ),
        (["calibrate.images=[2.5]"], r"calibrate\.images: expected whole numbers, or shares"),
        (["calibrate.replicates=1"], r"calibrate\.replicates: expected 2 or more, got 1"),
        (["calibrate.agreement=2"], r"calibrate\.agreement: expected a number in \[-1, 1\]"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_by_key(make, words, said):
    def assemble():
        study, alter, _ = make(*words)
        Settings.assemble(study, alter)

    with pytest.raises(ConfigError, match=said):
        assemble()


def test_credits_of_somebody_elses_estimator_that_are_no_numbers_are_told(make):
    class Mute:
        name, designs = "mute", ("paired_uniform",)

        def minimum_coalitions(self, n_players):
            return 1

        def __call__(self, sample):
            return unknown(np.full(sample.n_players, np.nan), sample, "mute")

    study, alter, _ = make()
    with pytest.raises(
        ConfigError, match=r"^estimator=mute: expected 8 credits, of which 8 are NaN"
    ):
        calibrate(replace(study, estimator=Mute()), alter)


def test_captions_of_a_combination_are_embedded_before_it_draws_them(make, monkeypatch):
    """Fewer images may show fewer captions, which have an address of their own."""
    for name in ("check_prompts", "prompts_of"):  # no model of digits reads any
        monkeypatch.setattr(f"crediting.pipeline.study.{name}", lambda *_: None)
    study, alter, executor = make("generation.prompts=captions")
    embedded = []
    monkeypatch.setattr(calibrate_stage, "encode", lambda one: embedded.append(one.prompts))
    assert found_by(Settings.assemble(study, alter)).tried[-1].setting.name == ALL
    assert len(executor.read) == 2
    assert executor.read == {study.prompts.fingerprint, *(one.fingerprint for one in embedded)}


# ------------------------------------------------------------------------------ nothing twice


def test_of_images_that_are_there_nobody_asks_how_fast_training_is(make, monkeypatch):
    measured = []

    def measure(study, spec, what):
        measured.append(spec.address.fingerprint)
        return {1: 10.0}

    monkeypatch.setattr("crediting.pipeline.evaluate.tuning._measured", measure)
    study, alter, _ = make("runtime.stack=auto")
    found = found_by(Settings.assemble(study, alter))
    trained = [one.setting for one in found.tried if one.setting.part is None]
    games = [one.study.game.address.fingerprint for one in (found.settings.own, *trained)]
    assert sorted(measured) == sorted(games)


def test_a_second_calibration_evaluates_nothing_and_says_the_same(make):
    study, alter, executor = make()
    calibrate(study, alter)
    folder = study.folder / "calibrate"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(set(executor.evaluated)) == len(executor.evaluated) > 0
    study, alter, executor = make()
    calibrate(study, alter)
    assert executor.evaluated == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("lasts", [30, 100, 210])
def test_an_interrupted_calibration_goes_on(make, tmp_path, lasts):
    study, alter, interrupted = make(lasts=lasts)
    with pytest.raises(KeyboardInterrupt):
        calibrate(study, alter)
    study, alter, executor = make()
    calibrate(study, alter)
    everything = interrupted.evaluated + executor.evaluated
    assert len(interrupted.evaluated) == lasts
    assert len(set(everything)) == len(everything)
    twice, ends = 2 * 20, 2 * 2
    # own, two single factors, all together; the first half of the images, and the other
    assert len(everything) == 4 * (twice + ends) + (twice + ends) + twice


def test_the_study_itself_goes_on_from_the_calibration(make):
    study, alter, _ = make()
    calibrate(study, alter)
    study, _, executor = make()
    evaluate(study)
    asked = {coalition_key(row) for row in study.coalitions(study.game)}
    assert len(executor.evaluated) == len(asked) - 22
    assert {game for game, *_ in executor.evaluated} == {study.game.address.fingerprint}


def test_a_dry_run_tells_and_evaluates_nothing(make, capsys, tmp_path):
    study, alter, executor = make("dry_run=true", "stage=calibrate")
    calibrate(study, alter)
    told = capsys.readouterr().out
    assert told.count("22 distinct coalitions x 2 replicates, 0 in the ledger, 44 missing") == 3
    assert "setting   generation.images=8\n          measured on the first" in told
    made = ("encode", "extract", "train", "prune")
    assert [line.split()[0] for line in told.splitlines() if " to do" in line] == [*made]
    assert executor.evaluated == []
    assert not (tmp_path / "outputs").exists()


def test_a_dry_run_looks_for_the_compiler_of_what_is_left(make, no_compiler, monkeypatch):
    calibrate(*make()[:2])
    monkeypatch.setattr("crediting.pipeline.study.Study.has_stored", lambda *_: True)  # models
    calibrate(*make("dry_run=true", "runtime.compile=default")[:2])
    with pytest.raises(ConfigError, match=r"^runtime\.compile: expected a C\+\+ compiler"):
        calibrate(*make("dry_run=true", "runtime.compile=default", "calibrate.replicates=3")[:2])


# ------------------------------------------------------------------------------ costs, variances


def test_seconds_split_as_they_were_made(make):
    study, alter, _ = make()
    calibrate(study, alter)
    settings = Settings.assemble(study, alter)
    known = costs(settings.own, settings.tried)
    assert known.own == pytest.approx(OVERHEAD + 8 * TRAINING_STEP + 8 * IMAGES * CALL)
    assert known.by_setting["generation.images=8"] == pytest.approx(known.own - 64 * CALL)
    assert known.by_setting["finetuning.recipe.steps=4"] == pytest.approx(known.own - 2)
    assert known.generation_share == pytest.approx(8 * IMAGES * CALL / known.own)
    assert work_of(settings.tried[-1]) == Work(8, 8 * 8)
    rows = read_settings(study)
    assert float(rows["generation.images=8"]["times as fast"]) == pytest.approx(22 / 14)


def test_a_rate_that_nothing_tells_is_unknown():
    both = fitted_rates([Work(8, 100), Work(4, 100), Work(8, 50)], [22.0, 20.0, 12.0])
    assert both == pytest.approx((0.5, 0.2))
    training = fitted_rates([Work(8, 100), Work(4, 100)], [22.0, 20.0])
    assert training.training == pytest.approx(0.5)
    assert math.isnan(training.call)
    confounded = fitted_rates([Work(8, 100), Work(4, 50)], [22.0, 20.0])
    assert all(math.isnan(rate) for rate in confounded)
    assert all(math.isnan(rate) for rate in fitted_rates([Work(1, 1)], [3.0]))
    slower = fitted_rates([Work(8, 100), Work(4, 100), Work(8, 50)], [22.0, 23.0, 12.0])
    assert slower.training == 0
    assert slower.call > 0


def test_variances_of_training_and_of_images_are_told_apart(found):
    words = ("plan.coalitions=200", "calibrate.coalitions=200", "calibrate.images=[]")
    none = ("calibrate.finetuning_steps=[]", "calibrate.generation_steps=[]")
    parts = found(*words, *none, training=0.5, image=1.6).components["fid"]
    training, generation = 0.5**2, 1.6**2 / IMAGES
    assert parts.generation.variance == pytest.approx(generation, rel=4 * math.sqrt(2 / 398))
    noise = training + generation
    assert parts.training.variance == pytest.approx(training, abs=4 * noise * math.sqrt(4 / 199))
    rows = found(*words, *none).settings.own.study
    utilities = proper_coalitions(rows) @ np.arange(1.0, N + 1)
    assert parts.coalition.variance == pytest.approx(utilities.var(ddof=1), rel=0.05)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        # generation is 1 of 2 to 6 parts of what an estimator may be left with
        (0.51, "17 to 50 % of the variance that an estimator is left with and 51 % of the seconds"),
        (0.51, "more coalitions, even of fewer images each, help more than more images"),
        (0.49, "it depends on how much"),
        (0.17, "it depends on how much"),
        (0.16, "more images per model help more than more coalitions"),
        (math.nan, "not known"),
    ],
)
def test_a_second_goes_where_more_variance_than_time_is(share, said):
    parts = VarianceComponents(*(Component(variance, 9.0) for variance in (4.0, 1.0, 1.0)))
    assert said in best_spent(parts, share)


def test_that_advice_is_the_slope_of_the_error_over_a_fixed_time():
    """Error over time B: (A + g / x) (F + x G) / B, at x = 1 images against a little more."""
    for left, fixed in [(0.5, 3.0), (3.0, 0.5), (2.0, 1.0), (0.1, 20.0)]:
        errors = [(left + 1 / x) * (fixed + x) for x in (1.0, 1.0001)]
        parts = VarianceComponents(Component(0.0, 9), Component(left, 9), Component(1.0, 9))
        said = best_spent(parts, 1 / (fixed + 1))
        assert ("more images per model help more" in said) == (errors[1] < errors[0])


def test_the_ceiling_is_the_second_replicate_against_the_first(found):
    noisy = found(training=5.0, image=0.0)
    calm = found("seed=1", training=0.0, image=0.0)
    assert calm.repeat["fid"].agreement.spearman == 1
    assert calm.repeat["fid"].inside == N
    assert 0 < noisy.repeat["fid"].agreement.spearman < 0.95


@pytest.mark.parametrize(
    ("images", "prompts", "expected"),
    [
        (16, None, [(0, 8), (8, 16)]),
        (16, 3, [(0, 6), (6, 12)]),
        (16, 8, [(0, 8), (8, 16)]),
        (5, 3, []),
        (1, None, []),
    ],
)
def test_each_half_of_the_images_begins_with_the_first_prompt(images, prompts, expected):
    study = SimpleNamespace(
        model=SimpleNamespace(conditional=prompts is not None),
        generation=SimpleNamespace(images=images),
        drawn_prompts=["a prompt"] * (prompts or 0),
    )
    found = halves(SimpleNamespace(study=study))
    assert [(half.first, half.last) for half in found] == expected
