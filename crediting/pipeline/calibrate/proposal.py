"""Which of the settings that agree with the study's own is proposed."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crediting.pipeline.calibrate.choices import Choice
from crediting.pipeline.calibrate.judged import Judgements
from crediting.pipeline.calibrate.settings import Setting


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


def combined_choices(tried: Sequence[Tried], threshold: float) -> list[Choice]:
    """Return the least of every factor that agrees by itself; nothing if that is one factor."""
    least: dict[str, Choice] = {}
    for one in tried:
        (choice,) = one.setting.chosen
        known = least.get(choice.factor)
        if one.agrees(threshold) and (known is None or choice.amount < known.amount):
            least[choice.factor] = choice
    return list(least.values()) if len(least) > 1 else []


def proposed(tried: Sequence[Tried], own_seconds: float, threshold: float) -> Tried | None:
    """Return the setting to propose: it agrees and takes less time than the study's own.

    A combination of several factors goes before single ones; of these the one that takes the least
    time, and those whose time is unknown last.
    """
    cheaper = [one for one in tried if one.agrees(threshold) and not one.seconds >= own_seconds]

    def order(one: Tried) -> tuple[bool, bool, float]:
        unknown = math.isnan(one.seconds)
        return len(one.setting.chosen) < 2, unknown, 0.0 if unknown else one.seconds

    return min(cheaper, key=order, default=None)


def speed_ups(tried: Sequence[Tried], own_seconds: float) -> Mapping[str, float]:
    """Return how many times as fast as the study's own every setting is; NaN where unknown."""
    return {
        one.setting.name: own_seconds / one.seconds if one.seconds > 0 else math.nan
        for one in tried
    }
