"""What makes the evaluator of a game, wherever coalitions are evaluated."""

from dataclasses import dataclass

from crediting.ledger import Ledger, fingerprint
from crediting.ledger.fingerprint import short
from crediting.pipeline.address import GameSpec
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame
from crediting.pipeline.study import Study


@dataclass(frozen=True)
class GameFactory:
    """Makes the evaluator of a game of a study; an `interfaces.EvaluatorFactory`."""

    study: Study
    spec: GameSpec

    @property
    def identity(self) -> str:
        """What outcomes depend on besides their tasks: the game, and how properties measure.

        And the ledger that they are for: who deletes it means to evaluate anew.
        """
        measured = fingerprint("measured", self.study.property_fingerprints)
        address = self.spec.address
        ledger = Ledger.peek(self.study.stored_in(address), address.fingerprint)
        assert ledger is not None  # it is made before anything is evaluated
        with ledger:
            return f"game-{short(address.fingerprint)}-{short(measured)}-{ledger.birth:08x}"

    def __call__(self) -> DiffusionGame:
        """Return the evaluator."""
        return DiffusionGame(self.study, self.spec)
