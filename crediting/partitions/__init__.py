"""Partitions: how the training examples are dealt to contributors."""

from crediting.partitions.by_label import ByLabel
from crediting.partitions.by_shards import ByShards

__all__ = ["ByLabel", "ByShards"]
