"""What makes the evaluator of a game, wherever coalitions are evaluated."""

from dataclasses import dataclass

from crediting.ledger import fingerprint
from crediting.ledger.fingerprint import short
from crediting.pipeline.address import GameSpec
from crediting.pipeline.diffusion_game import DiffusionGame
from crediting.pipeline.study import Study


@dataclass(frozen=True)
class GameFactory:
    """Makes the evaluator of a game of a study; an `interfaces.EvaluatorFactory`."""

    study: Study
    spec: GameSpec

    @property
    def identity(self) -> str:
        """What outcomes depend on besides their tasks: the game, and how properties measure."""
        measured = fingerprint("measured", self.study.property_fingerprints)
        return f"game-{short(self.spec.address.fingerprint)}-{short(measured)}"

    def __call__(self) -> DiffusionGame:
        """Return the evaluator."""
        return DiffusionGame(self.study, self.spec)
