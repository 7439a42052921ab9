"""Everybody but one."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crediting.game.game import Sample


@dataclass(frozen=True)
class LeaveOneOut:
    """The n coalitions that lack one contributor, each once, with the same probability."""

    name: ClassVar[str] = "leave_one_out"

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (n, n); row i lacks player i."""
        coalitions = ~np.eye(n_players, dtype=bool)
        return Sample(coalitions, np.full(n_players, -math.log(n_players)))
