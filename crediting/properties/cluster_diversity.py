"""Diversity over clusters of the reference images: demographic diversity, when those are faces."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crediting.errors import ConfigError
from crediting.interfaces import Features
from crediting.properties.diversity import entropy_of_groups
from crediting.properties.measure import field, of_field


@dataclass(frozen=True)
class ClusterDiversity:
    """Entropy, in bits, of the clusters of reference images that generated images are closest to.

    As in the paper (CelebA-HQ) and its authors' code. The distance of two images is the
    largest dot product between reference embeddings, less their own dot product. Ward's linkage
    runs on these distances, not on the embeddings themselves; it would call for Euclidean ones,
    but other clusters would measure another property. A generated image belongs to the cluster
    with the smallest mean distance.

    Args:
        extractor: whose embeddings are read, or null for the first chosen one that gives any.
        clusters: into how many the reference images are split.
    """

    extractor: str | None
    clusters: int

    unit: ClassVar[str] = "bits"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[str] = "embeddings"

    def __post_init__(self) -> None:
        if self.clusters < 2:
            raise ConfigError(f"clusters: expected 2 or more, got {self.clusters}")

    def bind(self, reference: Features) -> Callable[[Features], float]:
        """Return the measure, with the reference images clustered.

        Raises:
            ConfigError: the reference images do not fall into so many clusters.
        """
        real = field(reference, self.needs)
        clusters = torch.from_numpy(self._clustered(real.cpu().numpy())).to(real.device)
        means = torch.stack([real[clusters == c].mean(dim=0) for c in range(self.clusters)])

        def diversity(generated: Tensor) -> float:
            # the smallest mean distance is the largest dot product with the mean of the cluster
            return entropy_of_groups((generated @ means.T).argmax(dim=1))

        return of_field(self.needs, diversity)

    def _clustered(self, embeddings: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the cluster, from 0 on, of each of the embeddings (n, d)."""
        from scipy.cluster.hierarchy import fcluster, ward
        from scipy.spatial.distance import squareform

        found = 0
        if len(embeddings) >= self.clusters:
            similarities = embeddings @ embeddings.T
            distances = similarities.max() - similarities
            linkage = ward(squareform(distances, checks=False))
            labels = fcluster(linkage, self.clusters, criterion="maxclust")
            found = int(labels.max())
        if found < self.clusters:
            raise ConfigError(
                f"clusters: expected no more than the {len(embeddings)} reference images can be "
                f"told apart into, got {self.clusters}; lower it, or choose a dataset with more "
                "reference images"
            )
        return labels.astype(np.int64) - 1
