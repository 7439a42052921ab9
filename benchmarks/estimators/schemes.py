"""What is compared: designs with estimators, both with the settings that they ship with."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from games import KnownGame
from hydra.utils import instantiate
from omegaconf import OmegaConf

from crediting.config import CONFIG_DIR
from crediting.errors import CreditingError
from crediting.game.attribution import Attribution

DEFAULT = "paired_uniform / bayesian"
ADJUSTED = "paired_uniform / regression_adjusted"
AUTO = "paired_uniform / auto"
PAPER = "shapley_kernel / kernel_shap"

PAIRED = ("paired_uniform", "paired_uniform ends=false", "paired_kernel", "stratified")
PAIRINGS = {
    "bayesian": PAIRED,
    "kernel_shap": ("shapley_kernel", *PAIRED),
    "regression_adjusted": ("shapley_kernel", *PAIRED),
    "auto": ("paired_uniform",),
    "permutation": ("permutation", "permutation antithetic=true"),
}
SHAPIQ = (
    "shapiq_kernel_shap",
    "shapiq_permutation",
    "shapiq_svarm",
    "shapiq_regression_msr",
    "shapiq_proxy_shap",
)
QUICK_ONLY_BELOW = {"auto": 60, **dict.fromkeys(SHAPIQ, 200)}
"""Players from which on an estimator is left out, because a single estimate takes too long."""


@dataclass(frozen=True)
class Outcome:
    """Squared error over the centred variance; share of the values inside their intervals."""

    error: float
    inside: float


def names(n_players: int) -> list[str]:
    """Return all pairings of a design with an estimator, the default first."""
    ours = [f"{design} / {name}" for name, designs in PAIRINGS.items() for design in designs]
    everything = ours + [f"its own / {name}" for name in SHAPIQ]
    return [
        label
        for label in everything
        if n_players < QUICK_ONLY_BELOW.get(label.split(" / ")[1], n_players + 1)
    ]


def estimate(label: str, game: KnownGame, budget: int, seed: int) -> Outcome | None:
    """Return how well a pairing does with a budget of coalitions; None where it cannot."""
    design, name = label.split(" / ")
    try:
        if name in SHAPIQ:
            credits = _by_shapiq(name, game, budget, seed)
            return Outcome(game.error(credits), float("nan"))
        found = _by_us(design, name, game, budget, seed)
    except CreditingError:
        return None
    inside = (found.ci_low <= game.values) & (game.values <= found.ci_high)
    known = not np.isnan(found.ci_low).any()
    return Outcome(game.error(found.credits), float(inside.mean()) if known else float("nan"))


def _by_us(design: str, name: str, game: KnownGame, budget: int, seed: int) -> Attribution:
    kind, *settings = design.split()
    drawn = option("design", kind, budget, seed, settings).sample(len(game.values))
    estimator = option("estimator", name, budget, seed, [])
    if len(drawn) < estimator.minimum_coalitions(len(game.values)):
        raise CreditingError("too few coalitions")
    return estimator(game.play(drawn, seed))


def _by_shapiq(name: str, game: KnownGame, budget: int, seed: int) -> Any:
    from crediting.estimators.shapiq_adapter import approximate

    approximator = OmegaConf.load(CONFIG_DIR / "estimator" / f"{name}.yaml").approximator
    return approximate(approximator, game.seen(seed), len(game.values), budget, seed)


@cache
def _composed(group: str, name: str) -> Any:
    """Return an option with the candidates that its defaults list names, as Hydra composes it."""
    node = OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml")
    for entry in node.pop("defaults", None) or []:
        if isinstance(entry, str) and "@candidates." in entry:
            candidate, _, place = entry.partition("@")
            OmegaConf.update(node, place, _composed(group, candidate), force_add=True)
    return node


def option(group: str, name: str, budget: int, seed: int, settings: list[str]) -> Any:
    """Return what an option of a config group describes."""
    node = _composed(group, name)
    root = OmegaConf.create({"seed": seed, "plan": {"coalitions": budget}, "option": node})
    changed = OmegaConf.merge(root.option, OmegaConf.from_dotlist(settings))
    root.option = changed
    return instantiate(root.option, _convert_="all")
