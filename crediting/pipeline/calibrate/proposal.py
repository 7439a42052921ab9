"""All that a calibration found, and which of the settings that agree is proposed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crediting.agreement import VarianceComponents
from crediting.game.attribution import Attribution
from crediting.pipeline.calibrate.choices import Choice
from crediting.pipeline.calibrate.costs import Costs
from crediting.pipeline.calibrate.judged import Judgements
from crediting.pipeline.calibrate.settings import Setting, Settings


class Tried(NamedTuple):
    """A setting, its seconds per evaluation (NaN if unknown), and how it agrees.

    `judgements` is None where its coalitions failed.
    """

    setting: Setting
    seconds: float
    judgements: Judgements | None

    def agrees(self, threshold: float) -> bool:
        """Return whether it agrees for every property."""
        found = (self.judgements or {}).values()
        return bool(found) and all(one.agrees(threshold) for one in found)

    def times_as_fast(self, own_seconds: float) -> float:
        """Return how many times as fast as the study's own it is; NaN where unknown."""
        return own_seconds / self.seconds if self.seconds > 0 else math.nan


def combined_choices(tried: Sequence[Tried], threshold: float) -> list[Choice]:
    """Return the least of every factor that agrees by itself; nothing if that is one factor."""
    least: dict[str, Choice] = {}
    for one in tried:
        (choice,) = one.setting.chosen
        known = least.get(choice.factor)
        if one.agrees(threshold) and (known is None or choice.amount < known.amount):
            least[choice.factor] = choice
    return list(least.values()) if len(least) > 1 else []


@dataclass(frozen=True)
class Found:
    """The settings, the replicates of the own one held against each other, and the variances."""

    settings: Settings
    tried: Sequence[Tried]
    repeat: Judgements
    costs: Costs
    credits: Mapping[str, Attribution | None]
    """Of the study's own setting on these coalitions, by property; None if too few are left."""
    components: Mapping[str, VarianceComponents]

    @property
    def proposal(self) -> Tried | None:
        """The setting to propose: it agrees and takes less time than the study's own.

        A combination of several factors goes before single ones; of these the one that takes the
        least time, and those whose time is unknown last.
        """
        own, threshold = self.costs.own, self.settings.threshold

        def order(one: Tried) -> tuple[bool, bool, float]:
            unknown = math.isnan(one.seconds)
            return len(one.setting.chosen) < 2, unknown, 0.0 if unknown else one.seconds

        cheaper = [one for one in self.tried if one.agrees(threshold) and not one.seconds >= own]
        return min(cheaper, key=order, default=None)
