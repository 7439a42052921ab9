"""Gradient boosted trees that learn the odd part of a game from signs of membership."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.estimators.trees.values import NOBODY, Forest

Floats = NDArray[np.float64]

PLAYERS_PER_SPLIT = 32
"""So many players, drawn at random, are tried for a split: trees stay fast with a thousand."""


class Boosted(NamedTuple):
    """A forest, and its odd part (f(S) - f(N without S)) / 2 at the rows it was asked about."""

    forest: Forest
    odd: Floats


@dataclass(frozen=True)
class Boosting:
    """Least-squares gradient boosting: each tree is fitted to what the ones before it left over.

    Source: Friedman, "Greedy function approximation: a gradient boosting machine", 2001.
    """

    trees: int
    depth: int
    learning_rate: float
    smallest_leaf: int

    def fit(
        self,
        signs: Floats,
        targets: Floats,
        weights: Floats,
        training: NDArray[np.bool_],
        seed: int,
    ) -> Boosted:
        """Return trees fitted to the rows for training, and what they say of all rows.

        Each row is joined by its mirror image, opposite signs with the opposite target.

        Args:
            signs: 1 for members and -1 for others, (u, n).
            targets: of an odd function, (u,); only those for training are looked at.
            weights: of the rows, (u,).
            training: which rows to learn from, (u,).
            seed: of the players tried for each split.
        """
        from sklearn.tree import DecisionTreeRegressor

        inputs = np.concatenate([signs, -signs]).astype(np.float32)
        both = np.flatnonzero(np.tile(training, 2))
        learnt_from, learnt_weights = np.asfortranarray(inputs[both]), np.tile(weights, 2)[both]
        scale = _scale(targets[training])
        left_over = np.concatenate([targets, -targets])[both] / scale
        predicted = np.zeros(len(inputs))
        fitted = []
        for index in range(self.trees):
            # Inputs have two values: where between them a split lies cannot matter.
            tree = DecisionTreeRegressor(
                splitter="random",
                max_depth=self.depth,
                min_samples_leaf=self.smallest_leaf,
                max_features=min(PLAYERS_PER_SPLIT, signs.shape[1]),
                random_state=np.random.RandomState([*_words(seed), index]),
            )
            tree.fit(learnt_from, left_over, sample_weight=learnt_weights, check_input=False)
            step = self.learning_rate * tree.predict(inputs, check_input=False)
            left_over -= step[both]
            predicted += step
            fitted.append(tree.tree_)
        odd = scale * (predicted[: len(signs)] - predicted[len(signs) :]) / 2
        return Boosted(_as_forest(fitted, scale * self.learning_rate), odd)


def _scale(targets: Floats) -> float:
    """Return the power of two next to the size of targets; trees do not split tiny numbers.

    Dividing by it is exact.
    """
    size = float(np.abs(targets).max(initial=0.0))
    return 2.0 ** math.floor(math.log2(size)) if size > 0 else 1.0


def _words(seed: int) -> list[int]:
    """Return a seed of any size as numbers of 32 bits, of which numpy's older generator is made."""
    words = [seed % 2**32]
    while seed := seed >> 32:
        words.append(seed % 2**32)
    return words


def _as_forest(trees: list, learning_rate: float) -> Forest:
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    pairs = list(zip(starts, trees, strict=True))
    return Forest(
        players=np.concatenate(
            [np.where(tree.children_left < 0, NOBODY, tree.feature) for tree in trees]
        ),
        absent=np.concatenate([tree.children_left + start for start, tree in pairs]),
        present=np.concatenate([tree.children_right + start for start, tree in pairs]),
        values=np.concatenate([learning_rate * tree.value[:, 0, 0] for tree in trees]),
        roots=starts,
    )
