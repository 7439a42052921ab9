"""What was found about one property, whether a study or a recorded table it comes from."""

from dataclasses import dataclass, replace

import numpy as np

from crediting.errors import ConfigError
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample
from crediting.interfaces import Estimator
from crediting.pipeline.estimate.sizes import unseen_sizes


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
