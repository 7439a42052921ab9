"""Every coalition there is."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crediting.errors import ConfigError
from crediting.game.coalition import all_coalitions
from crediting.game.game import Sample

MAX_PLAYERS = 20


@dataclass(frozen=True)
class Exhaustive:
    """All 2^n coalitions, each once, with the same probability."""

    name: ClassVar[str] = "exhaustive"

    def sample(self, n_players: int) -> Sample:
        """Return coalitions (2^n, n) in the order of `all_coalitions`.

        Raises:
            ConfigError: there are more than 20 players.
        """
        if n_players > MAX_PLAYERS:
            raise ConfigError(
                f"design=exhaustive evaluates all 2^n coalitions: expected at most {MAX_PLAYERS} "
                f"contributors, got {n_players}; use estimator=bayesian, for which "
                "plan.coalitions sets how many are drawn, or a partition with fewer contributors."
            )
        coalitions = all_coalitions(n_players)
        return Sample(coalitions, np.full(len(coalitions), -n_players * math.log(2)))
