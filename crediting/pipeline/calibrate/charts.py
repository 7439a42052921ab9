"""The figure of a calibration: agreement with the study's own setting against cost."""

import math
from pathlib import Path

from crediting.pipeline.calibrate.found import Found
from crediting.pipeline.calibrate.proposal import Tried
from crediting.pipeline.calibrate.remarks import REPEAT
from crediting.reporting.curves import Series, curve_chart


def agreement(found: Found, name: str, path: Path) -> bool:
    """Draw rank correlations against seconds, a curve for every factor.

    Return whether there was anything to draw.
    """
    kinds: dict[str, list[Tried]] = {}
    for one in found.tried:
        if one.judgements and not math.isnan(one.seconds):
            kinds.setdefault(_kind(one), []).append(one)
    series = [_series(kind, members, name) for kind, members in kinds.items()]
    if not series:
        return False
    again = found.repeat[name].agreement
    series.append(
        Series(
            REPEAT,
            [found.costs.own],
            [again.spearman],
            [again.low],
            [again.high],
            published=False,
        )
    )
    title = f"Agreement with the study's own setting for {name}"
    curve_chart(path, title, "seconds per coalition and replicate", "Spearman", series)
    return True


def _kind(one: Tried) -> str:
    """Return the factor, or the other sampler, or that several were changed."""
    if len(one.setting.chosen) > 1:
        return "several"
    (choice,) = one.setting.chosen
    return choice.factor if choice.instead is None else choice.overrides[0]


def _series(kind: str, members: list[Tried], name: str) -> Series:
    ordered = sorted(members, key=lambda one: one.seconds)
    agreed = [one.judgements[name].agreement for one in ordered if one.judgements]
    return Series(
        kind,
        [one.seconds for one in ordered],
        [one.spearman for one in agreed],
        [one.low for one in agreed],
        [one.high for one in agreed],
        published=False,
    )
