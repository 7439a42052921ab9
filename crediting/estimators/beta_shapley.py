"""Beta Shapley values by least squares."""

from dataclasses import dataclass
from typing import ClassVar

from crediting.errors import ConfigError
from crediting.estimators.regression.semivalues import (
    Semivalue,
    beta_log_weights,
    regression_credits,
    regression_minimum,
)
from crediting.estimators.uncertainty import check_confidence
from crediting.game.attribution import Attribution
from crediting.game.game import EvaluatedSample


@dataclass(frozen=True)
class BetaShapley:
    """Means of what a contributor adds to others, with chosen weights of their number.

    That number is beta-binomial: with Beta(1, 1), the Shapley value, all sizes weigh the same; a
    large alpha weighs small coalitions, a large beta large ones. But for Beta(1, 1) the credits
    need not sum to v(N) - v(empty).

    Estimated by the weighted linear fit of `regression.semivalues`; consistent for every
    design that can draw all coalitions, and exact if all are there. Of a recorded game, credits are
    those of a fit to what was recorded. Errors come from leaving out every coalition with its
    complement; they are NaN, unknown, if one of these is needed to determine the credits.

    Raises:
        ConfigError: the confidence is not between 0 and 1, or alpha or beta is not positive.

    Source: Kwon & Zou, "Beta Shapley: a Unified and Noise-reduced Data Valuation Framework for
    Machine Learning", 2022.
    """

    alpha: float
    beta: float
    confidence: float

    name: ClassVar[str] = "beta_shapley"
    estimates: ClassVar[str] = "Beta Shapley value"
    designs: ClassVar[tuple[str, ...]] = (
        *("paired_uniform", "paired_kernel", "stratified", "shapley_kernel"),
        *("bernoulli", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)
        for key in ("alpha", "beta"):
            if not 0 < getattr(self, key) < float("inf"):
                raise ConfigError(
                    f"estimator.{key}: expected a positive number, got {getattr(self, key)}; "
                    "alpha=16 with beta=1 weighs small coalitions, alpha=1 with beta=1 is the "
                    "Shapley value."
                )

    def minimum_coalitions(self, n_players: int) -> int:
        """Return 2(n + 1): without them pairs do not determine the fit."""
        return regression_minimum(n_players)

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits.

        Raises:
            LedgerError: the coalitions do not determine them, or are too unlike those of the value.
        """
        weights = beta_log_weights(sample.n_players, self.alpha, self.beta)
        return regression_credits(
            sample, Semivalue(weights, self.name, "paired_kernel"), self.confidence
        )
