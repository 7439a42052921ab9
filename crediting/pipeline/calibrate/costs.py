"""What an evaluation costs by every setting, and how it splits into fine-tuning and generation."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from crediting.game.coalition import coalition_key
from crediting.pipeline.calibrate.settings import Setting, proper_coalitions


class Work(NamedTuple):
    """Steps of fine-tuning one model, and denoiser calls for all of its images."""

    training: float
    calls: float


class Rates(NamedTuple):
    """Seconds per step of fine-tuning and per denoiser call on an image; NaN where unknown."""

    training: float
    call: float


def work_of(setting: Setting) -> Work:
    """Return what a setting has a model trained and sampled."""
    recipe = setting.study.game.finetuning.recipe
    return Work(recipe.steps if recipe else 0, setting.study.generation.steps * setting.images)


def measured_seconds(setting: Setting) -> float:
    """Return the mean recorded seconds of one coalition in one replicate; NaN where there are none.

    The empty and the grand coalition do not count: they train on nothing, or on everything.
    """
    study = setting.study
    if setting.part is not None:
        return math.nan
    with study.recorded(study.game) as ledger:
        keys = {coalition_key(row) for row in proper_coalitions(study)}
        seconds = [seconds for key, seconds in ledger.durations() if key in keys]
        return math.fsum(seconds) / len(seconds) if seconds else math.nan


def fitted_rates(works: Sequence[Work], seconds: Sequence[float]) -> Rates:
    """Return the rates by least squares of seconds = constant + training + calls, none negative.

    A rate is unknown where its work is the same in all settings, or cannot be told from the other.
    """
    known = [place for place, value in enumerate(seconds) if not math.isnan(value)]
    if len(known) < 2:
        return Rates(math.nan, math.nan)
    table = np.array([works[place] for place in known], dtype=float)
    apart = table - table.mean(axis=0)
    varied = np.flatnonzero(np.ptp(table, axis=0) > 0)
    sizes = np.ptp(table, axis=0)
    found = np.full(len(Rates._fields), math.nan)
    if len(varied) and np.linalg.matrix_rank(apart[:, varied] / sizes[varied]) == len(varied):
        target = np.array([seconds[place] for place in known])
        found[varied] = _not_negative(apart[:, varied], target - target.mean())
    return Rates(*found.tolist())


def _not_negative(table: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return least-squares coefficients, the most negative left out until none is."""
    found, used = np.zeros(table.shape[1]), list(range(table.shape[1]))
    while used:
        fitted = np.linalg.lstsq(table[:, used], target, rcond=None)[0]
        if fitted.min() >= 0:
            found[used] = fitted
            break
        used.pop(int(fitted.argmin()))
    return found


class Costs(NamedTuple):
    """Seconds per evaluation by setting, those of fewer images worked out; NaN is unknown."""

    own: float
    by_setting: Mapping[str, float]
    generation_share: float
    """Of the seconds of the study's own setting, those that grow with its images."""


def costs(own: Setting, tried: Sequence[Setting]) -> Costs:
    """Return what the ledgers say of the costs of settings."""
    everything = [own, *tried]
    works = [work_of(one) for one in everything]
    measured = [measured_seconds(one) for one in everything]
    rates = fitted_rates(works, measured)
    whole, calls = measured[0], works[0].calls
    by_setting = {}
    for one, work, seconds in zip(everything, works, measured, strict=True):
        saved = rates.call * (calls - work.calls)
        by_setting[one.name] = max(whole - saved, 0.0) if one.part else seconds
    share = rates.call * calls / whole if whole > 0 else math.nan
    return Costs(whole, by_setting, min(share, 1.0))
