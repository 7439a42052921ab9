"""What the grand coalition loses with each contributor."""

from dataclasses import dataclass
from typing import ClassVar

from crediting.estimators.beside_an_end import by_differences, require_beside, utilities_beside
from crediting.estimators.uncertainty import check_confidence
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, grand_coalition
from crediting.game.game import EvaluatedSample


@dataclass(frozen=True)
class LeaveOneOut:
    """Credits v(N) - v(N without i); they need not sum to v(N) - v(empty).

    Their only error is the noise of training and generating, that of v(N) being common to all
    credits. Standard errors and interval are NaN, unknown, unless replicates have measured it.

    Raises:
        ConfigError: the confidence is not between 0 and 1.

    Source: Cook, "Detection of influential observation in linear regression", 1977; as a baseline,
    Lu et al. 2025.
    """

    confidence: float

    name: ClassVar[str] = "leave_one_out"
    estimates: ClassVar[str] = "leave-one-out effect"
    designs: ClassVar[tuple[str, ...]] = (
        *("leave_one_out", "paired_uniform", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        check_confidence(self.confidence)

    def minimum_coalitions(self, n_players: int) -> int:
        """Return n: one for every contributor."""
        return n_players

    def require(self, coalitions: CoalitionMatrix) -> None:
        """Check that coalitions (m, n) hold those n.

        Raises:
            LedgerError: one of them is missing.
        """
        require_beside(grand_coalition(coalitions.shape[1]), coalitions, self.name)

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits.

        Raises:
            LedgerError: a coalition that lacks one contributor is missing.
        """
        without_each = utilities_beside(grand_coalition(sample.n_players), sample, self.name)
        return by_differences(sample.v_full - without_each, sample, self.name, self.confidence)
