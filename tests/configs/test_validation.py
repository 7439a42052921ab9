"""What is said against a config before anything is built."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf, open_dict

from crediting import config
from crediting.config.options import option_problems, typed
from crediting.config.settings import settings_problems
from crediting.errors import ConfigError, did_you_mean
from crediting.ledger.fingerprint import canonical_json


class Part:
    """Stands for a class of a user."""

    def __init__(self, steps: int, rate: float, kind: str) -> None:
        self.given = (steps, rate, kind)


class Whole:
    def __init__(self, part: Part, *rest: Part, **anything: int) -> None: ...


class Hinted:
    def __init__(
        self,
        number: float = 0.0,
        whole: int | None = None,
        word: str = "",
        flag: bool = False,
        choice: Literal["a", "b"] = "a",
        many: Sequence[int] = (),
        some: Iterable[str] = (),
        few: Collection[str] | None = None,
        table: Mapping[str, Any] | None = None,
        parts: Mapping[str, Part] | None = None,
        part: Part | None = None,
        folder: Path = Path(),
        anything: Any = None,
    ) -> None: ...


class HintedForCheckersOnly:
    def __init__(self, tensor: "torch.Tensor") -> None: ...  # noqa: F821


class HintedByPartOfAModule:
    def __init__(self, writer: "pytest.no_such_part.Writer") -> None: ...


mine = partial(Part, kind="x")
HERE = __name__
PART = {"_target_": f"{HERE}.Part", "steps": 3, "rate": 0.1, "kind": "x"}


def problems(node: Any, group: str = "model") -> list[str]:
    return list(option_problems(group, node))


def test_nothing_is_said_against_what_fits():
    assert problems(PART) == []
    assert problems({"_target_": f"{HERE}.Whole", "part": PART, "more": 1}) == []
    assert problems({"_target_": f"{HERE}.HintedForCheckersOnly", "tensor": 1}) == []
    assert problems({"_target_": f"{HERE}.HintedByPartOfAModule", "writer": 1}) == []
    assert problems({"_target_": f"{HERE}.mine", "steps": 3, "rate": 0.1}) == []
    assert problems({"_target_": "datetime.timedelta", "hours": 1}) == []
    assert problems({"one": PART, "two": PART}, "property") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 3}, "model.step: Part has no such setting; did you mean steps?"),
        ({"zzz": 3}, "model.zzz: Part has no such setting; known: steps, rate, kind"),
        ({"steps": "3"}, "model.steps: expected int, got '3'"),
        ({"steps": True}, "model.steps: expected int, got True"),
        ({"rate": "fast"}, "model.rate: expected float, got 'fast'"),
        ({"_target_": f"{HERE}.Prt"}, f"model._target_: cannot import '{HERE}.Prt': {HERE} has"),
        (
            {"_target_": "no_such.Part"},
            "model._target_: cannot import 'no_such.Part': No module named 'no_such'; install "
            "it, or name the folder that holds it in PYTHONPATH",
        ),
        ({"_target_": "Part"}, "model._target_: cannot import 'Part': expected package.module"),
        ({"_target_": ".my.Part"}, "model._target_: cannot import '.my.Part': expected package."),
        ({"_target_": f"{HERE}.mine", "steps": 3, "rat": 0.1}, "model.rat: mine has no such"),
        (
            {"_target_": f"{HERE}.Qq"},
            f"model._target_: cannot import '{HERE}.Qq': {HERE} has no Qq; "
            "known: Collection, Iterable, Mapping, Sequence, Path, Any, Literal, OmegaConf, ",
        ),
        ({"_target_": f"{HERE}.PART"}, "model._target_: expected a class, got {"),
        ({"_target_": None}, "model._target_: cannot import None"),
    ],
)
def test_a_problem_names_the_key(change, message):
    assert [text for text in problems(PART | change) if text.startswith(message)], problems(
        PART | change
    )


def test_where_python_looks_is_told_only_of_what_a_target_begins_with():
    (problem,) = problems({"_target_": "crediting.no_such.Part"})
    assert problem.endswith("No module named 'crediting.no_such'")


def test_nested_objects_are_checked_too():
    node = {"_target_": f"{HERE}.Whole", "part": PART | {"steps": 0.5}}
    assert problems(node) == ["model.part.steps: expected int, got 0.5"]
    assert problems(node | {"part": 3}) == ["model.part: expected Part, got 3"]
    several = {"_target_": f"{HERE}.Whole", "part": PART, "others": [PART, PART | {"steps": 0.5}]}
    assert problems(several) == ["model.others.1.steps: expected int, got 0.5"]


def test_missing_arguments_are_named():
    assert problems({"_target_": f"{HERE}.Part", "steps": 3, "kind": "x"}) == [
        "model.rate: missing; Part needs it"
    ]


@pytest.mark.parametrize("node", [{}, {"steps": 3}, 3, None])
def test_an_option_must_name_a_class(node):
    assert len(problems(node)) == 1
    assert problems(node)[0].startswith("model: expected")
    assert problems({"mine": node}, "property")[0].startswith("property.mine: expected")


def test_there_must_be_a_property():
    assert problems({}, "property") == [
        "property: expected at least one, for instance property=[inception_score]"
    ]


@pytest.mark.parametrize(
    ("key", "fitting", "unfitting"),
    [
        ("number", [1, 0.5], [True, "1", None]),
        ("whole", [1, None], [1.5, "1"]),
        ("word", ["x"], [1, None]),
        ("flag", [True], [1, "true"]),
        ("choice", ["a"], ["c"]),
        ("many", [[1], []], ["12", 3]),
        ("some", [["x"], []], ["12", 3]),
        ("few", [["x"], None], ["12", 3]),
        ("table", [{"a": 1}, None], [[1], 3]),
        ("parts", [{"a": PART}, {}], [{"a": {"steps": 3}}, {"a": 3}]),
        ("part", [PART, None], [{"steps": 3, "rate": 0.1, "kind": "x"}, 3]),
        ("folder", ["/tmp"], [3, None]),
        ("anything", [3, None, "x", [1]], []),
    ],
)
def test_values_are_checked_against_hints(key, fitting, unfitting):
    def fits(value: Any) -> bool:
        return not problems({"_target_": f"{HERE}.Hinted", key: value})

    assert all(map(fits, fitting))
    assert not any(map(fits, unfitting))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=-1"], "seed: expected 0 or more, got -1"),
        (["design.seed=-2"], "design.seed: expected 0 or more, got -2"),
        (
            ["runtime.compile=foo"],
            "runtime.compile: expected null or one of default, max-autotune, got 'foo'",
        ),
        (["replicates=0"], "replicates: expected 1 or more, got 0"),
        (["replicates=10000000"], "replicates: expected 1000 or fewer, got 10000000"),
        (["runtime.threads=0"], "runtime.threads: expected 1 or more, got 0"),
        (
            ["runtime.threads=100000000000000"],
            "runtime.threads: expected 1024 or fewer, got 100000000000000",
        ),
        (
            ["model.unet.layers_per_block=100000000000000"],
            "model.unet.layers_per_block: expected 1000 or fewer, got 100000000000000",
        ),
        (
            ["model.noise.num_train_timesteps=100000000000000"],
            "model.noise.num_train_timesteps: expected 1000000 or fewer, got 100000000000000",
        ),
        (
            ["finetuning.recipe.batch_size=9223372036854775808"],
            "finetuning.recipe.batch_size: expected a whole number of at most 64 bits, got "
            "9223372036854775808",
        ),
        (
            ["model.unet.block_out_channels=[16,-9223372036854775808]"],
            "model.unet.block_out_channels.1: expected a whole number of at most 64 bits, got "
            "-9223372036854775808",
        ),
        (
            ["runtime.stack=0"],
            "runtime.stack: expected a positive integer or auto, got 0",
        ),
        (
            ["runtime.gradient_checkpointing=true", "runtime.stack=4"],
            "runtime.gradient_checkpointing: expected false where coalitions are trained in stacks "
            "(runtime.stack=4), which cannot be done with it; set runtime.stack=1, which "
            "takes less memory, too",
        ),
        (
            ["runtime.training_processes=0"],
            "runtime.training_processes: expected a positive integer or auto, got 0",
        ),
        (
            ["runtime.training_processes=all"],
            "runtime.training_processes: expected a positive integer or auto, got 'all'",
        ),
        (
            ["+report.payout.fid=0"],
            "report.payout.fid: expected an amount of money above 0, got 0",
        ),
        (
            ["game.rows=design"],
            "game.rows: it says how to read a recorded table, and there is none; name it with "
            "game.path=<table>, or leave this out",
        ),
        (
            ["+calibrate.samplers.mine=ddim"],
            "calibrate.samplers.mine: expected an option of the group generation, got 'ddim'; add "
            "it with +generation@calibrate.samplers.mine=<option>",
        ),
        (
            ["compare.alphas=[]"],
            "compare.alphas: expected at least one size, at which scores are ranked; got none",
        ),
        (["name=a/b"], "name: expected a plain folder name, got 'a/b'"),
        ([f'name="{101 * "é"}"'], "name: expected at most 200 bytes, got 202; shorten it"),
        (["name=.."], "name: expected a plain folder name, got '..'"),
    ],
)
def test_settings_out_of_range_are_named(overrides, message, resolved):
    assert list(settings_problems(resolved(*overrides))) == [message]
    assert list(settings_problems(resolved())) == []


@pytest.mark.parametrize(
    ("key", "taken", "refused"),
    [
        ("replicates", "1000", "1001"),
        ("compare.coalitions", "2", "1"),
        ("compare.alphas", "[0.999]", "[1.0]"),
        ("compare.remove", "[0.999]", "[1.0]"),
        ("compare.keep", "[0.001]", "[0.0]"),
        ("compare.trainings", "1", "0"),
        ("compare.trainings", "1000", "1001"),
        ("compare.random", "0", "-1"),
        ("compare.agreement", "0", "-1"),
        ("compare.fidelity", "-1.0", "-1.001"),
        ("compare.steps", "[1]", "[0]"),
        ("calibrate.coalitions", "3", "2"),
        ("calibrate.replicates", "2", "1"),
        ("calibrate.replicates", "1000", "1001"),
        ("calibrate.finetuning_steps", "[0.5,2.0]", "[2.5]"),
        ("calibrate.generation_steps", "[0.001]", "[0.0]"),
        ("calibrate.sampler_steps", "[1.0]", "[inf]"),
        ("calibrate.images", "[0.5,2.0]", "[2.5]"),
        ("calibrate.agreement", "1.0", "1.001"),
        ("report.top", "1", "0"),
        ("report.grid", "1", "0"),
        ("+report.payout.fid", "1e12", "inf"),
        ("runtime.threads", "1024", "1025"),
        ("runtime.training_processes", "1024", "1025"),
        ("runtime.stack", "9223372036854775807", "9223372036854775808"),
        ("finetuning.recipe.batch_size", "9223372036854775807", "9223372036854775808"),
        ("seed", "18446744073709551616", "-1"),
        ("design.seed", "18446744073709551616", "-1"),
        ("runtime.checkpoint_seconds", "0.0", "-0.1"),
        ("runtime.checkpoint_seconds", "inf", "nan"),
        ("stop.budget", "1", "0"),
        ("stop.ci_width", "7.5", "0"),
        ("stop.rank_stability", "1.0", "1.001"),
        ("stop.top_probability", "0.501", "0.5"),
        ("stop.top_probability", "1.0", "1.001"),
    ],
)
def test_settings_reach_as_far_as_they_make_sense(key, taken, refused, resolved):
    assert list(settings_problems(resolved(f"{key}={taken}"))) == []
    (said,) = settings_problems(resolved(f"{key}={refused}"))
    assert said.startswith(f"{key.lstrip('+')}: ")


@pytest.mark.parametrize("key", ["paths.outputs", "game.path"])
def test_a_path_in_the_home_of_nobody_is_refused(compose, key):
    composed = compose("+experiment=recorded", "game.path=x.csv", f'{key}="~nobody-there/x"')
    with pytest.raises(ConfigError, match=rf"^{key}: '~nobody-there/x'"):
        config.resolve(composed)


def test_what_is_removed_has_no_value_yet(compose):
    for key in list(compose()):
        composed = compose()
        with open_dict(composed):
            del composed[key]
        if key in ("method", "baseline"):  # there need not be any
            config.build(config.resolve(composed))
        else:
            with pytest.raises(ConfigError, match=rf"^these settings have no value yet: {key}[.=]"):
                config.resolve(composed)


@pytest.mark.parametrize(
    "key", ["model.training", "pruning.recovery", "finetuning.recipe", "design", "executor"]
)
def test_a_part_that_lost_its_class_is_refused(key, compose):
    composed = compose()
    with open_dict(composed):
        del OmegaConf.select(composed, key)["_target_"]
    with pytest.raises(ConfigError, match=rf"\n  - {key}: expected "):
        config.build(config.resolve(composed))


def test_all_problems_are_reported_together(resolved):
    plain = resolved("+dataset.trian=3", "generation.steps=few", "model.training.batch_size=b")
    with pytest.raises(ConfigError) as caught:
        config.build(plain)
    for key in ("dataset.trian", "generation.steps", "model.training.batch_size"):
        assert f"\n  - {key}: " in str(caught.value)


def test_what_a_constructor_refuses_is_said_with_its_full_key(resolved):
    plain = resolved("finetuning.recipe.learning_rate=-1", "pruning.ratio=2")
    with pytest.raises(ConfigError) as caught:
        config.build(plain)
    assert "\n  - finetuning.recipe.learning_rate: expected a positive number" in str(caught.value)
    assert "\n  - pruning.ratio: " in str(caught.value)


def test_advice_on_misspelt_words():
    assert did_you_mean("sede", ["name", "seed"]) == "did you mean seed?"
    assert did_you_mean("zzz", ["name", "seed"]) == "known: name, seed"
    assert did_you_mean("zzz", []) == "there are none"


def test_whole_numbers_are_floats_where_a_class_takes_floats(resolved):
    words = ("finetuning.recipe.weight_decay=0", "model.training.gradient_clip=1", "seed=3")
    plain, default = typed(resolved(*words)), resolved("seed=3")
    assert canonical_json(plain) == canonical_json(default)
    assert canonical_json(typed(default)) == canonical_json(default)
    assert canonical_json(resolved(*words)) != canonical_json(default)
    assert type(plain["seed"]) is int
    (listed,) = typed([PART | {"rate": 1}])
    assert (type(listed["rate"]), type(listed["steps"])) == (float, int)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "+method.mine.estimator=leave_one_out",
            "method.mine.estimator: expected settings of it, got 'leave_one_out'; an option is "
            "chosen by +estimator@method.mine.estimator=<option>",
        ),
        (
            "compare.truth.finetuning=lora",
            "compare.truth.finetuning: expected settings of it, got 'lora'; an option is chosen "
            "by finetuning@compare.truth.finetuning=<option>",
        ),
        (
            "+compare.truth.runtime.threads=1",
            "compare.truth: expected what it has otherwise than the study, of pruning, "
            "finetuning, design, estimator, generation; got ",
        ),
        ("compare.truth.finetuning.recipe.steps=-1", "compare.truth: the configuration cannot"),
    ],
)
def test_what_is_no_other_setting_of_a_method_is_refused(word, said, resolved):
    plain = resolved(word)
    with pytest.raises(ConfigError) as caught:
        config.methods(plain, config.build(plain))
    assert said in str(caught.value)


def test_a_method_of_a_study_finds_the_results_of_that_study(resolved):
    """Whole numbers in it are floats as well: else the same game would be played twice."""
    added = "+method.as_there.finetuning={recipe: {weight_decay: 0, learning_rate: 1}}"
    words = ("finetuning.recipe.weight_decay=0", "finetuning.recipe.learning_rate=1")
    there, here = (typed(resolved(*some)) for some in (words, [added]))
    settings, _ = config.methods(here, config.build(here))["as_there"]
    assert canonical_json(settings["finetuning"]) == canonical_json(there["finetuning"])
