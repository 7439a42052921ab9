"""What each contributor is worth alone."""

from dataclasses import dataclass
from typing import ClassVar

from crediting.estimators.beside_an_end import by_differences, require_beside, utilities_beside
from crediting.estimators.uncertainty import check_confidence
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, empty_coalition
from crediting.game.game import EvaluatedSample


@dataclass(frozen=True)
class AddOneIn:
    """Credits v({i}) - v(empty); they need not sum to v(N) - v(empty).

    Their only error is the noise of training and generating, that of v(empty) being common to all
    credits. Standard errors and interval are NaN, unknown, unless replicates have measured it.

    Raises:
        ConfigError: the confidence is not between 0 and 1.
    """

    confidence: float

    name: ClassVar[str] = "add_one_in"
    estimates: ClassVar[str] = "add-one-in effect"
    designs: ClassVar[tuple[str, ...]] = ("add_one_in", "paired_uniform", "exhaustive", "recorded")

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
        require_beside(empty_coalition(coalitions.shape[1]), coalitions, self.name)

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits.

        Raises:
            LedgerError: a coalition of one contributor is missing.
        """
        each_alone = utilities_beside(empty_coalition(sample.n_players), sample, self.name)
        return by_differences(each_alone - sample.v_empty, sample, self.name, self.confidence)
