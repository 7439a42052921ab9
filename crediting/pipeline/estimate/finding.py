"""What was found about one property, whether a study or a recorded table it comes from."""

from dataclasses import dataclass, replace

import numpy as np

from crediting.errors import ConfigError
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, is_proper
from crediting.game.game import EvaluatedSample
from crediting.interfaces import Estimator

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
        ConfigError: it returns something else, or credits that are no numbers.
    """
    found = estimator(sample)
    if not isinstance(found, Attribution):
        raise ConfigError(
            f"estimator={estimator.name}: expected it to return an Attribution, as the functions "
            f"of crediting/estimators/uncertainty.py make them, got {type(found).__name__}"
        )
    wanted = f"estimator={estimator.name}: expected {sample.n_players} credits"
    if not isinstance(found.credits, np.ndarray) or found.credits.dtype.kind not in "fiu":
        kind = getattr(found.credits, "dtype", type(found.credits).__name__)
        raise ConfigError(f"{wanted} as a numpy array of real numbers, got {kind}")
    if found.credits.shape != (sample.n_players,):
        raise ConfigError(f"{wanted}, shape ({sample.n_players},), got {found.credits.shape}")
    no_numbers = int((~np.isfinite(found.credits)).sum())
    if no_numbers:
        raise ConfigError(f"{wanted}, of which {no_numbers} are NaN or infinite")
    remark = unseen_sizes(sample.coalitions) if estimates_shapley_values(estimator) else None
    return replace(found, explanation=f"{found.explanation} {remark}".strip()) if remark else found


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
