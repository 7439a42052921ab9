"""What a calibration tries otherwise than the study: one factor at a time, always less of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FINETUNING, GENERATION, IMAGES = "fine-tuning steps", "generation steps", "images"


@dataclass(frozen=True)
class Choice:
    """One factor, otherwise.

    Args:
        factor: which.
        overrides: what to type for it.
        group: of the config, in which it lies.
        values: in that group, in place of those that are there.
        instead: settings that first replace the whole group; None where there are none.
        amount: of the factor.
    """

    factor: str
    overrides: tuple[str, ...]
    group: str
    values: Mapping[str, Any]
    instead: Mapping[str, Any] | None
    amount: int


def altered_groups(
    config: Mapping[str, Any], chosen: Sequence[Choice]
) -> dict[str, dict[str, Any]]:
    """Return the groups of a config that choices change, with all of them applied."""
    groups: dict[str, dict[str, Any]] = {}
    for choice in sorted(chosen, key=lambda one: one.instead is None):
        settings = choice.instead or groups.get(choice.group, config[choice.group])
        groups[choice.group] = {**settings, **choice.values}
    return groups


def choices(config: Mapping[str, Any]) -> tuple[list[Choice], list[str]]:
    """Return the choices that the section `calibrate` of a config asks for, each once, by factor.

    Beside them, what is left out and why, a sentence each.
    """
    found: dict[tuple[str, ...], Choice] = {}
    not_less: dict[tuple[str, int], list[str]] = {}
    left_out = []
    for choice, own in _asked(config):
        if own is None:
            left_out.append(f"{choice.group} has no {choice.factor} to lower.")
        elif choice.amount >= own:
            not_less.setdefault((choice.factor, own), []).append(" ".join(choice.overrides))
        else:
            found.setdefault(choice.overrides, choice)
    left_out += [
        f"Not tried, as the study itself has {own} {factor}: {', '.join(dict.fromkeys(names))}."
        for (factor, own), names in not_less.items()
    ]
    return list(found.values()), list(dict.fromkeys(left_out))


def _asked(config: Mapping[str, Any]) -> Iterator[tuple[Choice, int | None]]:
    """Yield every choice with what the study has of its factor, None where it has no such thing."""
    asked = config["calibrate"]
    recipe = config["finetuning"].get("recipe") or {}
    generation = config["generation"]
    trained, sampled, drawn = recipe.get("steps"), generation.get("steps"), generation.get("images")
    for value in asked["finetuning_steps"]:
        steps = _amount(value, trained)
        yield _finetuning(recipe, steps), trained
    for value in asked["generation_steps"]:
        yield _steps(_amount(value, sampled)), sampled
    for name, sampler in asked["samplers"].items():
        for value in asked["sampler_steps"]:
            yield _sampler(name, sampler, generation, _amount(value, sampled)), sampled
    for value in asked["images"]:
        images = _amount(value, drawn)
        override = (f"generation.images={images}",)
        yield Choice(IMAGES, override, "generation", {"images": images}, None, images), drawn


def _amount(asked: float, own: int | None) -> int:
    return int(asked) if asked >= 1 else max(1, round(asked * (own or 0)))


def _finetuning(recipe: Mapping[str, Any], steps: int) -> Choice:
    values = {"recipe": {**recipe, "steps": steps}}
    override = (f"finetuning.recipe.steps={steps}",)
    return Choice(FINETUNING, override, "finetuning", values, None, steps)


def _steps(steps: int) -> Choice:
    override = (f"generation.steps={steps}",)
    return Choice(GENERATION, override, "generation", {"steps": steps}, None, steps)


def _sampler(name: str, sampler: Mapping[str, Any], own: Mapping[str, Any], steps: int) -> Choice:
    """Return the choice of a sampler, with the study's own settings wherever it has such."""
    if sampler["_target_"] == own["_target_"]:
        return _steps(steps)
    instead = {key: own.get(key, value) for key, value in sampler.items()}
    values = {"_target_": sampler["_target_"], "steps": steps}
    overrides = (f"generation={name}", f"generation.steps={steps}")
    return Choice(GENERATION, overrides, "generation", values, instead, steps)
