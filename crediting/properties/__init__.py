"""Properties: one number about all the images that a model generates."""

from crediting.properties.diversity import Diversity
from crediting.properties.fid import FrechetDistance
from crediting.properties.inception_score import InceptionScore

__all__ = ["Diversity", "FrechetDistance", "InceptionScore"]
