"""The game between a design and an estimator: which coalitions, and what each is worth."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crediting.game.coalition import CoalitionMatrix, ends

Game = Callable[[CoalitionMatrix], NDArray[np.float64]]
"""A characteristic function: coalitions (m, n) -> utilities (m,)."""


@dataclass(frozen=True)
class Sample:
    """What a design asks for: coalitions (m, n), rows may repeat, and log-probabilities (m,).

    A row's log-probability is that of its coalition to be in a row of the sample picked at random,
    before anything was drawn: of independent draws that of a single draw, of distinct ones the
    inclusion probability over m. A design that enumerates a set gives every member the same.
    """

    coalitions: CoalitionMatrix
    log_probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.coalitions)


@dataclass(frozen=True)
class EvaluatedSample:
    """What an estimator reads: a sample, its utilities (m,), and the two ends of the game.

    Utilities are means over replicates; `noise_variance` is that of such a mean, the ends' as well,
    from training and generating anew. It is NaN where no coalition was evaluated twice, and is
    known with so many `noise_degrees` of freedom. `examples` (n,) are how many each player brought,
    None where that is unknown.
    """

    coalitions: CoalitionMatrix
    log_probabilities: NDArray[np.float64]
    utilities: NDArray[np.float64]
    v_empty: float
    v_full: float
    noise_variance: float
    noise_degrees: float = math.inf
    examples: NDArray[np.int64] | None = None

    @property
    def n_players(self) -> int:
        """Number of contributors n."""
        return self.coalitions.shape[1]

    def __len__(self) -> int:
        return len(self.coalitions)


def play(
    game: Game, sample: Sample, noise_variance: float = math.nan, noise_degrees: float = math.inf
) -> EvaluatedSample:
    """Evaluate a sample and both ends of a game that is cheap to call."""
    v_empty, v_full = game(ends(sample.coalitions.shape[1]))
    return EvaluatedSample(
        sample.coalitions,
        sample.log_probabilities,
        game(sample.coalitions),
        float(v_empty),
        float(v_full),
        noise_variance,
        noise_degrees,
    )
