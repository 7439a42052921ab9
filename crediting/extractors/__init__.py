"""Extractors: fixed networks that turn images into embeddings, class logits or scores."""

from crediting.extractors.aesthetic import Aesthetic
from crediting.extractors.blip_vqa import BlipVqa
from crediting.extractors.clean_fid import CleanFidInception
from crediting.extractors.clip import Clip
from crediting.extractors.inception_v3 import InceptionV3
from crediting.extractors.reference_classifier import ReferenceClassifier

__all__ = [
    "Aesthetic",
    "BlipVqa",
    "CleanFidInception",
    "Clip",
    "InceptionV3",
    "ReferenceClassifier",
]
