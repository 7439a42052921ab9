"""The pathological split of federated learning: contributors who know few labels each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError
from crediting.game.contributor import Contributor, Partition
from crediting.partitions.by_label import column_values


@dataclass(frozen=True)
class ByShards:
    """Examples are sorted by a column, cut into equal shards, and the shards dealt at random.

    Ties in the column are in random order. Shards differ by at most one example.

    Raises:
        ConfigError: there are fewer than 2 contributors or less than one shard for each.

    Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
    Data", 2017, section 3.
    """

    contributors: int
    shards_per_contributor: int
    column: str
    seed: int

    def __post_init__(self) -> None:
        if self.contributors < 2:
            raise ConfigError(
                f"partition.contributors: expected at least 2, got {self.contributors}; "
                "a game needs two players."
            )
        if self.shards_per_contributor < 1:
            raise ConfigError(
                "partition.shards_per_contributor: expected at least 1, "
                f"got {self.shards_per_contributor}; 2 is usual."
            )

    def partition(self, columns: Mapping[str, NDArray]) -> Partition:
        """Return contributors named contributor_00, contributor_01, ...

        Raises:
            ConfigError: the dataset has no such column, or fewer examples than there are shards.
        """
        values = column_values(columns, self.column)
        n_shards = self.contributors * self.shards_per_contributor
        if n_shards > len(values):
            raise ConfigError(
                "partition.contributors x partition.shards_per_contributor: expected at most "
                f"{len(values)} shards, one per example, got {self.contributors} x "
                f"{self.shards_per_contributor} = {n_shards}; lower one of them."
            )
        generator = np.random.default_rng(self.seed)
        shuffled = generator.permutation(len(values))
        by_value = shuffled[np.argsort(values[shuffled], kind="stable")]
        shards = np.array_split(by_value, n_shards)
        hands = generator.permutation(n_shards).reshape(self.contributors, -1)
        digits = max(2, len(str(self.contributors - 1)))
        dealt = [
            Contributor(
                f"contributor_{player:0{digits}d}",
                np.sort(np.concatenate([shards[shard] for shard in hand])),
            )
            for player, hand in enumerate(hands)
        ]
        return Partition(dealt, len(values))
