"""Datasets: where the training examples come from."""

from crediting.datasets.digits import Digits

__all__ = ["Digits"]
