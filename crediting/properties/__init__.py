"""Properties: one number about all the images that a model generates."""

from crediting.properties.cluster_diversity import ClusterDiversity
from crediting.properties.diversity import Diversity
from crediting.properties.fid import FrechetDistance
from crediting.properties.inception_score import InceptionScore
from crediting.properties.kid import KernelDistance
from crediting.properties.manifolds import Precision, Recall
from crediting.properties.scores import MeanScore, QuantileScore

__all__ = [
    "ClusterDiversity",
    "Diversity",
    "FrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "MeanScore",
    "Precision",
    "QuantileScore",
    "Recall",
]
