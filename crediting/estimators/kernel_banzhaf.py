"""Banzhaf values by least squares."""

from dataclasses import dataclass
from typing import ClassVar

from crediting.estimators.regression.semivalues import (
    Semivalue,
    banzhaf_log_weights,
    regression_credits,
    regression_minimum,
)
from crediting.estimators.uncertainty import check_confidence
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample


@dataclass(frozen=True)
class KernelBanzhaf:
    """Banzhaf values as coefficients of a linear fit to utilities, all coalitions weighing equally.

    The fit has an intercept and powers of the coalition's size beside memberships, and coalitions
    that a design draws rarely weigh more. The credits need not sum to v(N) - v(empty). They are
    exact if all coalitions are there; of a recorded game they are those of a linear fit to what was
    recorded. Errors come from leaving out every coalition with its complement; they are NaN,
    unknown, if one of these is needed to determine the credits.

    Raises:
        ConfigError: the confidence is not between 0 and 1.

    Source: Liu, Witter et al., "Kernel Banzhaf: A Fast and Robust Estimator for Banzhaf Values",
    2024; Hammer & Holzman, "Approximations of Pseudo-Boolean Functions", 1992.
    """

    confidence: float

    name: ClassVar[str] = "kernel_banzhaf"
    estimates: ClassVar[str] = "Banzhaf value"
    designs: ClassVar[tuple[str, ...]] = (
        *("bernoulli", "paired_uniform", "paired_kernel", "stratified"),
        *("shapley_kernel", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 2(n + 1): without them pairs do not determine the fit."""
        return regression_minimum(n_players)

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits.

        Raises:
            LedgerError: the coalitions do not determine them, or are too unlike those of the value.
        """
        weights = banzhaf_log_weights(sample.n_players)
        return regression_credits(
            sample, Semivalue(weights, self.name, "bernoulli"), self.confidence
        )
