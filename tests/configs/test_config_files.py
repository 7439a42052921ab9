"""Every file under configs/: found, documented, composed, built; nothing said twice."""

import inspect
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from crediting import config
from crediting.config.options import SEVERAL
from crediting.config.schema import Schema

OPTIONS = {
    "dataset": [
        *("artbench", "celeba_hq", "cifar100", "cifar100_superclasses", "digits"),
        *("digits_planted", "image_folder"),
    ],
    "partition": ["by_contributor", "by_label", "by_shards"],
    "model": ["ddpm", "ddpm_cifar", "ldm_celeba", "sd", "sd_lora"],
    "pruning": [
        *("diff_pruning", "lora_ranks", "magnitude", "none", "random", "reinit", "taylor"),
    ],
    "finetuning": ["finetune", "gradient_ascent", "influence_unlearning", "lora", "retrain"],
    "generation": ["ddim", "dpm_solver", "pndm"],
    "extractor": [
        *("aesthetic", "blip_vqa", "clean_fid", "clip", "inception_v3", "reference_classifier"),
    ],
    "property": [
        *("aesthetic_mean", "aesthetic_median", "aesthetic_q90", "clip_score"),
        *("cluster_diversity", "diversity", "fid", "inception_score", "kid", "precision", "recall"),
    ],
    "design": [
        *("add_one_in", "bernoulli", "exhaustive", "fixed_size", "leave_one_out"),
        *("paired_kernel", "paired_uniform", "permutation", "shapley_kernel", "stratified"),
    ],
    "estimator": [
        *("add_one_in", "banzhaf", "bayesian", "beta_shapley", "datamodel", "exact"),
        *("kernel_banzhaf", "kernel_shap", "leave_one_out", "paper", "permutation"),
        *("auto", "regression_adjusted", "shapiq_kernel_shap", "shapiq_permutation"),
        *("shapiq_proxy_shap", "shapiq_regression_msr", "shapiq_svarm"),
    ],
    "executor": ["processes", "ray", "serial", "slurm"],
    "method": [
        *("add_one_in", "banzhaf", "datamodel", "dense_shapley", "gradient_ascent"),
        *("influence_unlearning", "leave_one_out", "lora_shapley", "paper", "retrain_shapley"),
    ],
    "baseline": [
        *("aesthetic_of_images_max", "aesthetic_of_images_mean", "clip_similarity_max"),
        *("clip_similarity_mean", "d_trak", "das", "embedding_distance_max"),
        *("embedding_distance_mean", "embedding_similarity_max", "embedding_similarity_mean"),
        *("gradient_similarity_max", "gradient_similarity_mean", "journey_trak"),
        *("mixture_proxy", "pixel_similarity_max", "pixel_similarity_mean", "property_of_images"),
        *("relative_influence", "renormalised_influence", "size", "trak"),
    ],
    "published": ["artbench_sd_lora", "celeba_ldm", "cifar_ddpm", "none"],
    "proof": [
        *("artbench_sd_lora", "artbench_sd_lora_miniature", "celeba_ldm", "celeba_ldm_miniature"),
        *("cifar_ddpm", "cifar_ddpm_miniature"),
    ],
    "runtime": ["auto"],
    "parts": ["gradients", "influence", "recipe", "small_proof"],
    "experiment": [
        *("artbench_sd_lora", "celeba_ldm", "cifar_ddpm"),
        *("digits_exact", "digits_planted", "digits_proof", "digits_retrain"),
        *("image_folder", "recorded"),
    ],
    "size/miniature": [
        *("artbench_sd_lora", "celeba_ldm", "cifar_ddpm"),
        *("digits_exact", "digits_planted", "digits_proof", "digits_retrain", "image_folder"),
    ],
}
"""What configs/ holds: a new option belongs here too."""

EVERY_OPTION = [(group, option) for group, options in OPTIONS.items() for option in options]
EXPERIMENTS = OPTIONS["experiment"]


WHOLE_STUDIES = ("experiment", "size/miniature", "proof")
NO_CLASS = ("runtime", "method", "published", "parts", *WHOLE_STUDIES)
"""Groups whose options name no class of their own."""
BEGUN_WITH = {
    "gradients": ("baseline", "gradient_similarity_mean"),
    "influence": ("baseline", "trak"),
    "recipe": ("finetuning", "retrain"),
    "small_proof": ("proof", "cifar_ddpm_miniature"),
}
"""An option that begins with each of the parts, which are in several and no choice themselves."""


def assignment(group: str, option: str) -> list[str]:
    if group in SEVERAL or group == "method":
        return [f"{group}=[{option}]"]
    if group == "parts":
        return assignment(*BEGUN_WITH[option])
    if group == "published":
        return [f"published@compare.published={option}"]
    if group == "proof":
        experiment = option.removesuffix("_miniature")
        small = ["+size=miniature"] if option != experiment else []
        return [f"+experiment={experiment}", f"+proof={option}", *small]
    if group == "size/miniature":
        return [f"+experiment={option}", "+size=miniature"]
    if option == "recorded":
        return ["+experiment=recorded", "game.path=utilities.csv"]
    return [f"+experiment={option}" if group == "experiment" else f"{group}={option}"]


def path_of(group: str, option: str) -> Path:
    return config.CONFIG_DIR / group / f"{option}.yaml"


def opening_comment(text: str) -> list[str]:
    """Return the comment lines that a file starts with, without their hash."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines


def command_in(comment: list[str]) -> list[str]:
    """Return the overrides of the `credit` command in a comment."""
    commands = [line for line in comment if re.match(r"credit( |$)", line)]
    assert commands, f"no `credit ...` command in {comment}"
    return shlex.split(commands[0])[1:]


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def targets(node: Any) -> Iterator[str]:
    return (value for path, value in leaves(node) if path.split(".")[-1] == "_target_")


def repeated(experiment: Mapping[str, Any], without: Mapping[str, Any]) -> list[str]:
    """Return the settings of an experiment that hold what the config has without it."""
    before = dict(leaves(without))
    missing = object()
    return [path for path, value in leaves(experiment) if before.get(path, missing) == value]


def overridden_groups(experiment: Mapping[str, Any]) -> list[str]:
    """Return an experiment's defaults list as overrides of the command line."""
    overrides = []
    for entry in experiment.get("defaults", []):
        for key, option in entry.items() if isinstance(entry, Mapping) else []:
            group = key.removeprefix("override ").lstrip("/")
            listed = f"[{','.join(option)}]" if isinstance(option, list) else option
            overrides.append(f"{group}={listed}")
    return overrides


def defaulted_arguments(target: Any) -> list[str]:
    parameters = inspect.signature(target).parameters.values()
    return [p.name for p in parameters if p.default is not p.empty]


# ------------------------------------------------------------------------------ the files


def test_no_file_is_forgotten():
    found = {path.relative_to(config.CONFIG_DIR) for path in config.CONFIG_DIR.rglob("*.yaml")}
    expected = {Path(group, f"{option}.yaml") for group, option in EVERY_OPTION}
    assert found == expected | {Path("config.yaml")}


def test_groups_are_those_of_the_schema():
    assert set(config.GROUPS) == set(OPTIONS) - set(NO_CLASS)
    assert set(config.GROUPS) < set(Schema.__dataclass_fields__)


@pytest.mark.parametrize(("group", "option"), EVERY_OPTION)
def test_a_file_opens_with_its_purpose_and_a_command_that_selects_it(group, option, compose):
    comment = opening_comment(path_of(group, option).read_text())
    if group in WHOLE_STUDIES:
        assert comment.pop(0) == "@package _global_"
    assert len(comment[0]) > 20, "no purpose"
    assert not comment[0].startswith("credit"), "the purpose comes first"
    command = command_in(comment)
    composed = OmegaConf.to_container(compose(*command))
    selected = OmegaConf.to_container(compose(*assignment(group, option)))
    if group in WHOLE_STUDIES:
        if "stage=compare" in command:  # what it is for; the option itself chooses no stage
            assert composed.pop("stage").name == "compare"
            assert selected.pop("stage").name == "all"
        assert composed == selected
    elif group in SEVERAL or group == "method":
        assert option in composed[group]
    elif group == "parts":
        assert set(assignment(group, option)) <= set(command)
    elif group == "published":
        assert composed["compare"] == selected["compare"]
    elif group != "runtime":  # its command may change the values
        assert composed[group]["_target_"] == selected[group]["_target_"]


@pytest.mark.parametrize(("group", "option"), EVERY_OPTION)
def test_every_option_is_composed_resolved_and_built(group, option, resolved):
    settings = resolved(*assignment(group, option))
    built = config.build(settings)
    assert set(built) == set(config.GROUPS)
    steps = {f"steps_{count}" for count in settings["compare"]["steps"]}
    assert set(config.methods(settings, built)) == {*settings["method"], *steps, "truth"}
    if group in SEVERAL:
        assert list(built[group]) == [option]


def test_the_command_of_the_main_file_is_the_default_study(resolved):
    comment = opening_comment((config.CONFIG_DIR / "config.yaml").read_text())
    assert resolved(*command_in(comment)) == resolved()
    assert resolved()["name"] == "digits_ddpm"


# ------------------------------------------------------------------------------ nothing twice


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_holds_only_differences(experiment, compose):
    own = OmegaConf.to_container(OmegaConf.load(path_of("experiment", experiment)))
    groups = overridden_groups(own)
    without = OmegaConf.to_container(compose(*groups))
    assert repeated({k: v for k, v in own.items() if k != "defaults"}, without) == []
    for group in groups:
        others = [other for other in groups if other != group]
        assert OmegaConf.to_container(compose(*others)) != without, f"{group} changes nothing"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_bears_its_own_name(experiment, compose):
    assert compose(f"+experiment={experiment}").name == experiment


def test_constructors_have_no_second_default(resolved):
    named = {
        target
        for group, option in EVERY_OPTION
        for target in targets(resolved(*assignment(group, option)))
    }
    assert len(named) > 20
    found = {target: defaulted_arguments(get_class(target)) for target in named}
    assert {target: names for target, names in found.items() if names} == {}


# ------------------------------------------------------------------------------ the checks can fail


def test_checks_can_fail():
    assert repeated({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == ["a.b"]
    assert repeated({"a": {"b": None}}, {"a": {}}) == []
    assert defaulted_arguments(lambda steps, seed=0: None) == ["seed"]
    assert opening_comment("# one\n#   two\nkey: 1 # three\n") == ["one", "two"]
    with pytest.raises(AssertionError, match="no `credit"):
        command_in(["Purpose only.", "credits"])
