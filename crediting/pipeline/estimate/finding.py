"""What was found about one property, whether a study or a recorded table it comes from."""

from dataclasses import dataclass, replace

import numpy as np

from crediting.errors import ConfigError
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, is_proper
from crediting.game.game import EvaluatedSample
from crediting.interfaces import Estimator

_OF_EVERYBODY = ("credits", "std_errors", "ci_low", "ci_high", "noise_errors")
"""What an attribution holds a number of for every contributor."""

_MOST = 0.8
"""Share of the sizes from which on nothing is said of the others."""


@dataclass(frozen=True)
class Finding:
    """The credits for a property and the utilities that they were estimated from."""

    unit: str
    higher_is_better: bool
    sample: EvaluatedSample
    attribution: Attribution


def credits_of(estimator: Estimator, sample: EvaluatedSample) -> Attribution:
    """Return what an estimator, which may be anybody's, makes of evaluated coalitions.

    Raises:
        ConfigError: it returns something else, or what is no credits with their errors.
    """
    found = estimator(sample)
    if not isinstance(found, Attribution):
        raise ConfigError(
            f"estimator={estimator.name}: expected it to return an Attribution, as the functions "
            f"of crediting/estimators/uncertainty.py make them, got {type(found).__name__}"
        )
    _check_numbers(found, sample.n_players, f"estimator={estimator.name}: expected")
    remark = unseen_sizes(sample.coalitions) if estimates_shapley_values(estimator) else None
    return replace(found, explanation=f"{found.explanation} {remark}".strip()) if remark else found


def _check_numbers(found: Attribution, n_players: int, expected: str) -> None:
    for name in _OF_EVERYBODY:
        numbers, wanted = getattr(found, name), f"{expected} {n_players} {name}"
        if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "fiu":
            kind = getattr(numbers, "dtype", type(numbers).__name__)
            raise ConfigError(f"{wanted} as a numpy array of real numbers, got {kind}")
        if numbers.shape != (n_players,):
            raise ConfigError(f"{wanted}, shape ({n_players},), got {numbers.shape}")
    no_numbers = int((~np.isfinite(found.credits)).sum())
    if no_numbers:
        raise ConfigError(
            f"{expected} {n_players} credits, of which {no_numbers} are NaN or infinite"
        )
    if np.shape(found.draws)[1:] != (n_players,):
        raise ConfigError(
            f"{expected} draws of shape (r, {n_players}), got {np.shape(found.draws)}"
        )
    if (found.std_errors < 0).any() or (found.ci_low > found.ci_high).any():
        raise ConfigError(f"{expected} std_errors of 0 or more, and no ci_low above its ci_high")


def estimates_shapley_values(estimator: Estimator) -> bool:
    """Whether an estimator is of Shapley values; one of another value names it in `estimates`."""
    return getattr(estimator, "estimates", "Shapley value") == "Shapley value"


def unseen_sizes(coalitions: CoalitionMatrix) -> str | None:
    """Return what to say of coalitions (m, n) of few sizes; None if they are of most."""
    n = coalitions.shape[1]
    proper = coalitions[is_proper(coalitions)].sum(axis=1)
    if not len(proper):
        return None
    least, most = int(proper.min()), int(proper.max())
    if most - least + 1 >= _MOST * (n - 1):
        return None
    which = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"Only coalitions of {which} of {n} contributors are known, and all sizes count alike in a "
        "Shapley value: credits and intervals take it that the others are like them."
    )
