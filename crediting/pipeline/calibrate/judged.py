"""How the utilities and credits of a setting agree with those of the study's own."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement import bootstrap_interval, mean_absolute_error, spearman
from crediting.errors import LedgerError
from crediting.game.attribution import Attribution
from crediting.pipeline.calibrate.settings import Setting, proper_coalitions
from crediting.pipeline.estimate.finding import credits_of
from crediting.pipeline.estimate.stage import read_replicates, read_sample, read_utilities
from crediting.pipeline.study import Study
from crediting.randomness import derive_seed

CONFIDENCE, RESAMPLES = 0.95, 1000
FEWEST = 5
"""Coalitions below which resampling them says nothing about others."""

Floats = NDArray[np.float64]


class Agreement(NamedTuple):
    """Rank correlation of utilities with the ends of its interval, and mean absolute difference.

    NaN is unknown. The interval is the bootstrap's, over coalitions: between settings that are
    nearly one it stays narrow, where one that is symmetric in Fisher's z would not.
    """

    spearman: float
    low: float
    high: float
    difference: float


class Judged(NamedTuple):
    """A setting held against the study's own, for one property.

    `inside` counts contributors whose credit lies in the interval of its own, `of` all of them;
    None where there are no intervals. `farthest` is the largest difference of credits in units of
    half the width of that interval.
    """

    agreement: Agreement
    inside: int | None
    of: int
    farthest: float

    def agrees(self, threshold: float) -> bool:
        """Return whether all credits are inside, and ranks surely correlate by a threshold."""
        return self.inside == self.of and self.agreement.low >= threshold


Judgements = Mapping[str, Judged]
"""By property."""


def judge(own: Setting, other: Setting) -> Judgements:
    """Return how a setting agrees with the study's own, by property.

    Raises:
        LedgerError: a coalition of either was not evaluated.
    """
    return {name: _judge(own.study, other.study, name) for name in own.study.properties}


def judge_repeat(own: Setting) -> Judgements:
    """Return how the second replicate of the study's own setting agrees with the first."""
    found = {}
    for name in own.study.properties:
        values = read_replicates(own.study, own.study.game, proper_coalitions(own.study), name)
        agreed = _agreement(values[:, 1], values[:, 0], derive_seed("repeat", name))
        first, second = (estimated(own.study, name, alone) for alone in (0, 1))
        found[name] = _judged(agreed, first, second)
    return found


def _judge(own: Study, other: Study, name: str) -> Judged:
    rows = proper_coalitions(own)
    cheap, better = (read_utilities(one, one.game, rows, name) for one in (other, own))
    seed = derive_seed("calibrate", other.game.address.fingerprint, name)
    return _judged(_agreement(cheap, better, seed), estimated(own, name), estimated(other, name))


def _agreement(cheap: Floats, better: Floats, seed: int) -> Agreement:
    """Return how two vectors (m,) agree where neither is NaN."""
    both = ~(np.isnan(cheap) | np.isnan(better))
    cheap, better = cheap[both], better[both]
    low = high = difference = math.nan
    if len(cheap):
        difference = mean_absolute_error(cheap, better)
    if len(cheap) >= FEWEST:
        low, high = bootstrap_interval(spearman, cheap, better, CONFIDENCE, RESAMPLES, seed)
    return Agreement(spearman(cheap, better), low, high, difference)


def estimated(study: Study, name: str, alone: int | None = None) -> Attribution | None:
    """Return the credits by all replicates or one; None where too few coalitions are left."""
    try:
        return credits_of(study.estimator, read_sample(study, name, alone))
    except LedgerError:
        if not study.config["allow_missing"]:
            raise
        return None


def _judged(agreed: Agreement, own: Attribution | None, other: Attribution | None) -> Judged:
    if own is None or other is None:
        return Judged(agreed, None, 0, math.nan)
    low, high = own.ci_low, own.ci_high
    if np.isnan([low, high]).any():
        return Judged(agreed, None, len(low), math.nan)
    inside = int(((low <= other.credits) & (other.credits <= high)).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(other.credits - own.credits) / ((high - low) / 2)
    farthest = float(np.where(other.credits == own.credits, 0.0, apart).max())
    return Judged(agreed, inside, len(low), farthest)
