"""The ledger of a game before anything is evaluated."""

from pathlib import Path

from crediting.ledger.ledger import Ledger
from crediting.ledger.tables import connect_to_nothing


class EmptyLedger(Ledger):
    """A ledger that lacks everything and is kept nowhere."""

    def __init__(self, game: str) -> None:
        self.path = Path(":memory:")
        self.game = game
        self._connection = connect_to_nothing(game)
