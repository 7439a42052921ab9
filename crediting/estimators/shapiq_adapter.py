"""Approximators of the package shapiq, which choose their own coalitions, as estimators."""

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from crediting.errors import ConfigError, LedgerError
from crediting.estimators.uncertainty import unknown
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, empty_coalition, grand_coalition
from crediting.game.game import EvaluatedSample, Game
from crediting.game.rows import Floats, distinct_rows


class Approximator(NamedTuple):
    """A class of `shapiq.approximator`, its settings, and how to get it."""

    class_name: str
    settings: dict[str, Any]
    installation: str
    also_needs: tuple[str, ...] = ()


_PLAIN = "pip install shapiq"
_PROXY = "pip install 'shapiq[proxy]>=1.5.2' (Python 3.12 or newer)"

APPROXIMATORS = {
    "kernel_shap": Approximator("KernelSHAP", {}, _PLAIN),
    "permutation": Approximator("PermutationSamplingSV", {}, _PLAIN),
    "svarm": Approximator("SVARM", {}, _PLAIN),
    # Without xgboost these two would fit other trees, with no more than a warning.
    "regression_msr": Approximator("RegressionMSR", {"index": "SV"}, _PROXY, ("xgboost",)),
    "proxy_shap": Approximator("ProxySHAP", {"index": "SV", "max_order": 1}, _PROXY, ("xgboost",)),
}
"""By the name they have here; settings beyond these are shapiq's defaults."""


def approximate(approximator: str, game: Game, n_players: int, budget: int, seed: int) -> Floats:
    """Return Shapley values (n,) by one of APPROXIMATORS, which calls the game as it likes.

    Args:
        approximator: its name there.
        game: to play.
        n_players: number of contributors n.
        budget: most evaluations to use, the empty and the grand coalition among them.
        seed: of its draws.

    Raises:
        ConfigError: shapiq, or what the approximator needs beside it, is not installed.
    """
    chosen = APPROXIMATORS[approximator]
    found = find(approximator)(n=n_players, random_state=seed, **chosen.settings)

    def play(coalitions: CoalitionMatrix) -> Floats:
        return game(np.atleast_2d(coalitions).astype(bool))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as of a budget that has a few evaluations to spare
        values = found.approximate(budget, play)
    return np.array([values[(player,)] for player in range(n_players)], dtype=np.float64)


def find(approximator: str) -> Any:
    """Return the class of one of APPROXIMATORS.

    Raises:
        ConfigError: it is not installed.
    """
    chosen = APPROXIMATORS[approximator]
    try:
        for module in chosen.also_needs:
            importlib.import_module(module)
        import shapiq.approximator

        return getattr(shapiq.approximator, chosen.class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"estimator=shapiq_{approximator} needs {chosen.class_name} of the package shapiq "
            f"({error}); install it with: {chosen.installation}"
        ) from error


@dataclass(frozen=True)
class Shapiq:
    """Shapley values by an approximator of shapiq that looks utilities up among those evaluated.

    It chooses coalitions by itself, so all that it may ask for must be there. Of its errors nothing
    is told.

    Args:
        approximator: one of APPROXIMATORS.
        budget: most coalitions that it may look up, both ends among them; None for all there are.
        seed: of its draws.

    Raises:
        ConfigError: there is no such approximator, or the budget is below 2.

    Source: Muschalik et al., "shapiq: Shapley interactions for machine learning", 2024.
    """

    approximator: str
    budget: int | None
    seed: int

    designs: ClassVar[tuple[str, ...]] = ("exhaustive", "recorded")

    def __post_init__(self) -> None:
        if self.approximator not in APPROXIMATORS:
            raise ConfigError(
                f"estimator.approximator: expected one of {', '.join(APPROXIMATORS)}, "
                f"got {self.approximator!r}."
            )
        if self.budget is not None and self.budget < 2:
            raise ConfigError(
                "estimator.budget: expected at least 2 coalitions, or null for all there are, "
                f"got {self.budget}."
            )

    @property
    def name(self) -> str:
        """The option's name."""
        return f"shapiq_{self.approximator}"

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 2^n: it may ask for any of them.

        Raises:
            ConfigError: the approximator is not installed; said before anything is evaluated.
        """
        find(self.approximator)
        return 2**n_players

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits; some approximators hand out not quite v(N) - v(empty).

        Raises:
            ConfigError: the approximator is not installed.
            LedgerError: it asks for a coalition that was not evaluated.
        """
        utilities = _evaluated(sample)
        game = partial(_look_up, utilities, self.name)
        budget = len(utilities) if self.budget is None else self.budget
        credits = approximate(self.approximator, game, sample.n_players, budget, self.seed)
        explanation = (
            f"{APPROXIMATORS[self.approximator].class_name} of shapiq chose up to {budget} of the "
            f"{len(utilities)} coalitions by itself."
        )
        return unknown(credits, sample, self.name, explanation)


def _evaluated(sample: EvaluatedSample) -> dict[bytes, float]:
    """Return utilities by the bytes of a coalition, those of the ends among them."""
    rows, n_players = distinct_rows(sample), sample.n_players
    utilities = {
        row.tobytes(): float(utility)
        for row, utility in zip(rows.coalitions, rows.utilities, strict=True)
    }
    ends = empty_coalition(n_players).tobytes(), grand_coalition(n_players).tobytes()
    return utilities | dict(zip(ends, (sample.v_empty, sample.v_full), strict=True))


def _look_up(
    utilities: Mapping[bytes, float], asked_by: str, coalitions: CoalitionMatrix
) -> Floats:
    keys = [row.tobytes() for row in coalitions]
    missing = sum(key not in utilities for key in keys)
    if missing:
        raise LedgerError(
            f"estimator={asked_by} chooses coalitions by itself, and {missing} of those "
            f"it asked for are not among the {len(utilities)} evaluated ones; it needs "
            "design=exhaustive or a recorded table that is complete."
        )
    return np.array([utilities[key] for key in keys])
