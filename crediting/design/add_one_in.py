"""Nobody but one."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crediting.game.game import Sample


@dataclass(frozen=True)
class AddOneIn:
    """The n coalitions of a single contributor, each once, with the same probability."""

    name: ClassVar[str] = "add_one_in"

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (n, n); row i holds player i alone."""
        coalitions = np.eye(n_players, dtype=bool)
        return Sample(coalitions, np.full(n_players, -math.log(n_players)))
