"""Extractors: fixed networks that turn images into embeddings and class logits."""

from crediting.extractors.inception_v3 import InceptionV3
from crediting.extractors.reference_classifier import ReferenceClassifier

__all__ = ["InceptionV3", "ReferenceClassifier"]
