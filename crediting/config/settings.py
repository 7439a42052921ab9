"""What can be said against a study's plain settings before anything is built or run.

Every check yields messages, so that all problems are reported together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crediting.errors import did_you_mean

COMPILE_MODES = ("default", "max-autotune")  # as training.compiling knows them
_LONGEST_NAME = 200  # bytes; file systems allow 255
_OF_A_TABLE: Mapping[str, Any] = {"properties": None, "lower_is_better": [], "rows": "all"}
"""What `game` says where there is no table."""
_LEAST = {
    "seed": 0,
    "replicates": 1,
    "report.top": 1,
    "report.grid": 1,
    "compare.coalitions": 2,
    "compare.trainings": 1,
    "compare.random": 0,
    "compare.agreement": 0,
    "calibrate.coalitions": 3,
    "calibrate.replicates": 2,
    "runtime.threads": 1,
    "runtime.checkpoint_seconds": 0,
}
_MOST = {
    "replicates": 1000,
    "compare.trainings": 1000,
    "calibrate.replicates": 1000,
    "runtime.threads": 1024,
    "runtime.training_processes": 1024,
    "model.unet.layers_per_block": 1000,
    "model.noise.num_train_timesteps": 1_000_000,
}
_LARGEST = 2**63 - 1  # that libraries compute with


def settings_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message for every plain setting that cannot work."""
    yield from _number_problems(config)
    mode = config["runtime"]["compile"]
    if mode is not None and mode not in COMPILE_MODES:
        yield f"runtime.compile: expected null or one of {', '.join(COMPILE_MODES)}, got {mode!r}"
    processes = config["runtime"]["training_processes"]
    if processes != "auto" and not (isinstance(processes, int) and processes > 0):
        yield (
            f"runtime.training_processes: expected a positive integer or auto, got {processes!r}"
        )
    yield from _stack_problems(config["runtime"])
    yield from _stop_problems(config["stop"])
    yield from _payout_problems(config["report"]["payout"])
    yield from _game_problems(config["game"])
    yield from _share_problems(config["compare"])
    yield from _calibrate_problems(config["calibrate"])
    yield from _compare_problems(config["compare"])
    name = config["name"]
    if name in ("", ".", "..") or Path(name).name != name:
        yield f"name: expected a plain folder name, got {name!r}"
    elif len(name.encode()) > _LONGEST_NAME:
        yield f"name: expected at most {_LONGEST_NAME} bytes, got {len(name.encode())}; shorten it"


def _number_problems(config: Mapping[str, Any]) -> Iterator[str]:
    numbers = dict(_numbers(config))
    for key, least in _LEAST.items():
        if not numbers[key] >= least:  # NaN is not
            yield f"{key}: expected {least} or more, got {numbers[key]}"
    for key, most in _MOST.items():
        if numbers.get(key, 0) > most:
            yield f"{key}: expected {most} or fewer, got {numbers[key]}"
    for key, number in numbers.items():
        is_large = isinstance(number, int) and abs(number) > _LARGEST
        if is_large and key not in _MOST and not key.endswith("seed"):
            yield f"{key}: expected a whole number of at most 64 bits, got {number}"
    for group, node in config.items():
        seed = node.get("seed", 0) if isinstance(node, Mapping) else 0
        if isinstance(seed, int) and seed < 0 and seed != config["seed"]:
            yield f"{group}.seed: expected 0 or more, got {seed}"


def _numbers(node: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers of a config by their keys."""
    if isinstance(node, Mapping) or (isinstance(node, Sequence) and not isinstance(node, str)):
        parts = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in parts:
            yield from _numbers(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, int | float):
        yield path, node


def _stack_problems(runtime: Mapping[str, Any]) -> Iterator[str]:
    stack = runtime["stack"]
    if stack != "auto" and not (isinstance(stack, int) and stack > 0):
        yield f"runtime.stack: expected a positive integer or auto, got {stack!r}"
    elif stack != 1 and runtime["gradient_checkpointing"]:
        yield (
            "runtime.gradient_checkpointing: expected false where coalitions are trained in stacks "
            f"(runtime.stack={stack}), which cannot be done with it; set runtime.stack=1, which "
            "takes less memory, too"
        )


def _stop_problems(stop: Mapping[str, Any]) -> Iterator[str]:
    # a contributor is among the top ones, or not, with a probability of a half at least
    ranges = {"rank_stability": (0, 1), "top_probability": (0.5, 1)}
    for key, value in stop.items():
        lowest, highest = ranges.get(key, (0, math.inf))
        if value is not None and not lowest < value <= highest:
            limit = f"{lowest}{f' and at most {highest}' if highest == 1 else ''}"
            yield f"stop.{key}: expected a number above {limit}, or null for never; got {value}"


def _payout_problems(payout: Mapping[str, float]) -> Iterator[str]:
    for name, amount in payout.items():
        if not 0 < amount < math.inf:
            yield f"report.payout.{name}: expected an amount of money above 0, got {amount:g}"


def _game_problems(game: Mapping[str, Any]) -> Iterator[str]:
    for key, idle in _OF_A_TABLE.items():
        if game["path"] is None and game[key] != idle:
            yield (
                f"game.{key}: it says how to read a recorded table, and there is none; name it "
                "with game.path=<table>, or leave this out"
            )


def _share_problems(compare: Mapping[str, Any]) -> Iterator[str]:
    if not compare["alphas"]:
        yield "compare.alphas: expected at least one size, at which scores are ranked; got none"
    for key in ("alphas", "remove", "keep"):
        for share in compare[key]:
            if not 0 < share < 1:
                yield f"compare.{key}: expected shares between 0 and 1, got {share}"


def _calibrate_problems(calibrate: Mapping[str, Any]) -> Iterator[str]:
    for key in ("finetuning_steps", "generation_steps", "sampler_steps", "images"):
        for value in calibrate[key]:
            if not 0 < value < math.inf or (value > 1 and value != int(value)):
                yield (
                    f"calibrate.{key}: expected whole numbers, or shares below 1 of what the study "
                    f"has, got {value:g}"
                )
    for name, sampler in calibrate["samplers"].items():
        if not isinstance(sampler, Mapping) or "_target_" not in sampler:
            yield (
                f"calibrate.samplers.{name}: expected an option of the group generation, got "
                f"{sampler!r}; add it with +generation@calibrate.samplers.{name}=<option>"
            )
    yield from _correlation_problems("calibrate.agreement", calibrate["agreement"])


def _correlation_problems(key: str, value: float) -> Iterator[str]:
    if not -1 <= value <= 1:
        yield f"{key}: expected a number in [-1, 1], got {value}"


def methods_problems(config: Mapping[str, Any], groups: Sequence[str]) -> Iterator[str]:
    """Yield a message for everything that does not fit in what a study is compared with.

    `groups` are those in which a method may be otherwise than the study.
    """
    for name, node in config["method"].items():
        yield from _otherwise_problems(f"method.{name}", node, groups)
    compare = config["compare"]
    # what is held to be true may draw its images with more care, too
    yield from _otherwise_problems("compare.truth", compare["truth"], (*groups, "generation"))
    if compare["steps"] and "steps" not in (config["finetuning"].get("recipe") or {}):
        yield "compare.steps: this finetuning has no steps; leave compare.steps empty"
    named = ["own", "truth", *config["method"], *methods_of_steps(compare)]
    named += [*config["baseline"], *compare["scores"]]
    for name in {name for name in named if named.count(name) > 1}:
        yield (
            f"{name}: used more than once among methods, baselines and scores, where own and "
            "truth are taken; rename one"
        )
    uncredited = () if compare["credits_of_steps"] else methods_of_steps(compare)
    able = [name for name in named if name not in ("truth", *uncredited)]
    for name in compare["removals"]:
        if name not in able:
            yield f"compare.removals: there is no {name}; {did_you_mean(name, able)}"


def _otherwise_problems(key: str, node: Any, groups: Sequence[str]) -> Iterator[str]:
    if not isinstance(node, Mapping) or not set(node) <= set(groups):
        yield (
            f"{key}: expected what it has otherwise than the study, of {', '.join(groups)}; "
            f"got {node!r}"
        )
        return
    plus = "+" if key.startswith("method.") else ""
    for group, settings in node.items():
        if not isinstance(settings, Mapping):
            yield (
                f"{key}.{group}: expected settings of it, got {settings!r}; an option is chosen by "
                f"{plus}{group}@{key}.{group}=<option>"
            )


def methods_of_steps(compare: Mapping[str, Any]) -> dict[str, int]:
    """Return the names of the fine-tunings that compare.steps asks for, and their steps."""
    return {f"steps_{count}": count for count in compare["steps"]}


def _compare_problems(compare: Mapping[str, Any]) -> Iterator[str]:
    yield from _correlation_problems("compare.fidelity", compare["fidelity"])
    for count in compare["steps"]:
        if count < 1:
            yield f"compare.steps: expected 1 or more, got {count}"
    for name, node in compare["scores"].items():
        if not isinstance(node, str) and not _is_noted(node):
            yield (
                f"compare.scores.{name}: expected the path of a .csv, or "
                f"{{file: <the .csv>, note: <a sentence>}}; got {node!r}"
            )


def _is_noted(node: Any) -> bool:
    texts = isinstance(node, Mapping) and all(isinstance(value, str) for value in node.values())
    return texts and set(node) == {"file", "note"}
