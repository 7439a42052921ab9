"""The cooperative game between contributors: players, coalitions, utilities, credits. Numpy only.

Games whose Shapley values are known in closed form are in `crediting.game.toy`; those that somebody
recorded in a table are read by `crediting.game.recorded` (Parquet files by pyarrow).
"""

from crediting.game.attribution import Attribution
from crediting.game.axioms import null_player_gap, symmetry_gap
from crediting.game.coalition import (
    Coalition,
    CoalitionMatrix,
    all_coalitions,
    coalition_from_key,
    coalition_key,
    coalition_keys,
    distinct,
    empty_coalition,
    grand_coalition,
)
from crediting.game.contributor import Contributor, Partition, group_examples
from crediting.game.game import EvaluatedSample, Game, Sample, play

__all__ = [
    "Attribution",
    "Coalition",
    "CoalitionMatrix",
    "Contributor",
    "EvaluatedSample",
    "Game",
    "Partition",
    "Sample",
    "all_coalitions",
    "coalition_from_key",
    "coalition_key",
    "coalition_keys",
    "distinct",
    "empty_coalition",
    "grand_coalition",
    "group_examples",
    "null_player_gap",
    "play",
    "symmetry_gap",
]
