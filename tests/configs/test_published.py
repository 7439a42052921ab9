"""The numbers of the paper that stand beside ours, and the comparisons they are for."""

import math
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from crediting import config
from crediting.pipeline.compare.published import Published

USE_CASES = ("cifar_ddpm", "celeba_ldm", "artbench_sd_lora")
KEYS = {
    *("source", "property", "scores", "budget", "removed", "removed_range", "kept", "seconds"),
    *("speedup", "agreement", "parameters", "others", "differences", "remarks"),
}
OPTIONAL = {"top"}
BY_METHOD = ("budget", "removed", "removed_range", "kept", "speedup")


def options(group):
    return {path.stem for path in (config.CONFIG_DIR / group).glob("*.yaml")}


@pytest.fixture(scope="module")
def published(resolved):
    return {
        name: resolved(f"+experiment={name}", f"published@compare.published={name}")["compare"][
            "published"
        ]
        for name in USE_CASES
    }


def test_there_is_a_file_for_every_use_case():
    assert options("published") == {*USE_CASES, "none"}
    assert options("proof") == {*USE_CASES, *(f"{name}_miniature" for name in USE_CASES)}


@pytest.mark.parametrize("name", USE_CASES)
def test_a_file_has_all_parts(name, published):
    found = published[name]
    assert set(found) - OPTIONAL == KEYS
    assert "2407.03153" in found["source"]
    assert all(text.endswith(".") for text in found["differences"])
    assert len(found["differences"]) >= 8


@pytest.mark.parametrize("name", USE_CASES)
def test_numbers_bear_the_names_of_options(name, published):
    found = published[name]
    known = {"own"} | options("method") | options("baseline")
    tables = [found["scores"]["0.5"], *(found[key] for key in BY_METHOD if key in found)]
    assert {key for table in tables for key in table} <= known
    assert set(found["seconds"]) <= known | {"retraining"}
    assert found["property"] in options("property")


@pytest.mark.parametrize("name", USE_CASES)
def test_shares_and_intervals_can_be_read(name, published):
    found = published[name]
    assert all(len(pair) == 2 and pair[1] > 0 for pair in found["scores"]["0.5"].values())
    lengths = [[budget for budget, *_ in points] for points in found["budget"].values()]
    assert all(budgets == sorted(lengths[0]) for budgets in lengths)
    for which in ("removed", "kept"):
        assert all(0 < float(share) < 1 for row in found[which].values() for share in row)
    for key, row in found["removed_range"].items():
        (low, high), median = row["0.4"], found["removed"][key]["0.4"]
        assert low < median < high


SPOTS = [
    ("cifar_ddpm", ("scores", "0.5", "own"), [61.48, 2.27]),
    ("cifar_ddpm", ("scores", "0.5", "leave_one_out"), [30.66, 6.11]),
    ("cifar_ddpm", ("scores", "0.5", "journey_trak"), [-42.92, 2.15]),
    ("cifar_ddpm", ("budget", "dense_shapley", 3), [94, 39.60, 3.03]),
    ("cifar_ddpm", ("kept", "own", "0.6"), 16.98),
    ("cifar_ddpm", ("agreement", "1000", "pearson"), 0.8162),
    ("celeba_ldm", ("scores", "0.5", "own"), [26.34, 3.42]),
    ("celeba_ldm", ("scores", "0.5", "embedding_distance_mean"), [13.83, 1.12]),
    ("celeba_ldm", ("budget", "retrain_shapley", 2), [28, -15.97, 0.97]),
    ("celeba_ldm", ("removed", "pixel_similarity_max", "0.4"), -6.64),
    ("artbench_sd_lora", ("scores", "0.5", "own"), [61.44, 2.04]),
    ("artbench_sd_lora", ("scores", "0.5", "aesthetic_of_images_max"), [21.36, 3.70]),
    ("artbench_sd_lora", ("budget", "own", 2), [50, 59.44, 0.55]),
    ("artbench_sd_lora", ("removed", "d_trak", "0.4"), 0.58),
    ("artbench_sd_lora", ("seconds", "retraining"), 11817.8),
    ("cifar_ddpm", ("parameters", "pruned"), 19.8),
    ("celeba_ldm", ("agreement", "750", "pearson_of_credits"), 0.6576),
    ("artbench_sd_lora", ("agreement", "800", "mean_squared_error"), 0.1427),
    ("artbench_sd_lora", ("top", 0), "Edouard Cortès"),
    ("celeba_ldm", ("removed_range", "own", "0.4"), [-9.1, -6.5]),
]


@pytest.mark.parametrize(("name", "path", "expected"), SPOTS)
def test_a_number_is_the_papers(name, path, expected, published):
    found = published[name]
    for key in path:
        found = found[key]
    assert found == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_ddpm", [195, 295, 396, 496]),
        ("celeba_ldm", [93, 197, 291, 394, 498]),
        ("artbench_sd_lora", [186, 558, 930]),  # 18.6 times as many
    ],
)
def test_figure_2_is_of_as_many_coalitions_as_fit_in_its_hours(name, expected, published):
    found = published[name]
    contest = SimpleNamespace(
        settings={"published": found}, steps_as_own=lambda method: f"no steps of {method}"
    )
    known = found["property"]
    assert Published(contest).coalitions(known, "own") == expected
    times = [budget for budget, *_ in found["budget"]["retrain_shapley"]]
    assert Published(contest).coalitions(known, "retrain_shapley") == times
    assert Published(contest).coalitions("another", "own") == []
    assert Published(contest).coalitions(known, "size") == []


def test_the_last_point_of_figure_2_is_table_1_for_celeba(published):
    """Both are of 500 coalitions, and the paper prints one number twice."""
    found = published["celeba_ldm"]
    assert found["budget"]["own"][-1][1:] == found["scores"]["0.5"]["own"]


@pytest.mark.parametrize("name", USE_CASES)
def test_seconds_agree_with_the_published_speedup(name, published):
    seconds, speedup = published[name]["seconds"], published[name]["speedup"]
    for key, factor in speedup.items():
        assert seconds["retraining"] / seconds[key] == pytest.approx(factor, rel=0.01)


@pytest.mark.parametrize("name", USE_CASES)
def test_parameters_agree_with_the_share_removed(name, published):
    found = published[name]["parameters"]
    if "pruned" in found:
        removed = math.floor(100 * (1 - found["pruned"] / found["full"])) / 100
        assert removed == found["removed"]


# ------------------------------------------------------------------------------ the comparisons


@pytest.mark.parametrize("name", USE_CASES)
def test_a_proof_compares_everybody_of_table_1_and_figure_2(name, resolved):
    found = resolved(f"+experiment={name}", f"+proof={name}", "stage=compare")
    published = found["compare"]["published"]
    rivals = (set(published["scores"]["0.5"]) | set(published["budget"])) - {"own"}
    besides = {"das", "size", "mixture_proxy"}  # which the paper does not have
    assert set(found["method"]) | set(found["baseline"]) == rivals | besides
    assert set(found["compare"]["removals"]) == set(published["removed"])
    shares = {str(share) for share in found["compare"]["keep"]}
    assert all(set(row) == shares for row in published["kept"].values())
    assert published["property"] in found["property"]
    steps = [*found["compare"]["steps"], found["finetuning"]["recipe"]["steps"]]
    assert sorted(map(str, steps), key=int) == sorted(published["agreement"], key=int)


@pytest.mark.parametrize("size", [None, "miniature"])
@pytest.mark.parametrize("name", USE_CASES)
def test_a_proof_can_be_built_and_is_about_the_same_study(name, size, resolved):
    small = [f"+size={size}"] if size else []
    proof = f"{name}_{size}" if size else name
    plain = resolved(f"+experiment={name}", f"+proof={proof}", *small)
    study = resolved(f"+experiment={name}", *small)
    parts = config.build(plain)
    steps = {f"steps_{count}" for count in plain["compare"]["steps"]}
    assert set(config.methods(plain, parts)) == {*plain["method"], *steps, "truth"}
    free = ("method", "baseline", "extractor", "compare")
    assert {k: v for k, v in plain.items() if k not in free} == {
        k: v for k, v in study.items() if k not in free
    }
    assert study["extractor"].items() <= plain["extractor"].items()
    assert set(plain["extractor"]) - set(study["extractor"]) == {"clip"}


@pytest.mark.parametrize("name", USE_CASES)
def test_a_miniature_compares_the_same_with_less(name, resolved):
    whole = resolved(f"+experiment={name}", f"+proof={name}")
    small = resolved(f"+experiment={name}", f"+proof={name}_miniature", "+size=miniature")
    for group in ("method", "baseline"):
        assert set(whole[group]) == set(small[group])
    assert small["compare"]["coalitions"] < whole["compare"]["coalitions"]
    assert len(small["compare"]["keep"]) < len(whole["compare"]["keep"])
    assert small["baseline"]["trak"]["dimensions"] < whole["baseline"]["trak"]["dimensions"]
    assert small["baseline"]["trak"]["damping"] == whole["baseline"]["trak"]["damping"]
    assert small["extractor"]["clip"]["weights"].startswith("miniature/")


@pytest.mark.parametrize("name", USE_CASES)
def test_damping_is_the_authors(name, resolved):
    """They damp by 0.5 what is not divided by the square root of the dimensions.

    DAS is not theirs, and does not look at gradients of the loss: it is damped in its own units.
    """
    for key, node in resolved(f"+experiment={name}", f"+proof={name}")["baseline"].items():
        if "damping" in node:
            assert node["relative"] == (key == "das"), key
            assert node["damping"] == (0.1 if key == "das" else 0.5 / node["dimensions"])


@pytest.mark.parametrize("name", USE_CASES)
def test_a_proof_says_nothing_twice(name, compose):
    """What it sets differs from what its own lists bring."""
    own = OmegaConf.to_container(OmegaConf.load(config.CONFIG_DIR / f"proof/{name}.yaml"))
    lists = {
        key.removeprefix("override /"): option
        for entry in own.pop("defaults")
        for key, option in entry.items()
    }
    words = [
        f"{group}=[{','.join(option)}]" if isinstance(option, list) else f"{group}={option}"
        for group, option in lists.items()
    ]
    without = compose(f"+experiment={name}", *words)
    for group, nodes in own.items():
        for key, value in nodes.items():
            before = OmegaConf.to_container(without)[group].get(key)
            settings = value.items() if isinstance(value, dict) else [(None, value)]
            for setting, said in settings:
                assert (before if setting is None else before.get(setting)) != said, (key, setting)
