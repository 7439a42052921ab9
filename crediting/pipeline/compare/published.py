"""What is published: beside our tables, or apart where it has no place in any."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from crediting.errors import ArtifactError
from crediting.pipeline.compare.contest import OWN, Contest
from crediting.pipeline.compare.contestants import Contestant
from crediting.reporting.grid import Column, Estimate, Grid

_AGREEMENT = {
    "pearson": "Pearson correlation {:g}",
    "mean_absolute_error": "mean absolute error {:g}",
    "mean_squared_error": "mean squared error {:g}",
    "pearson_of_credits": "Pearson correlation of credits {:g}",
    "minutes": "{:g} minutes a coalition",
}
"""What is published of fine-tuning against retraining, in words."""


class Published:
    """What is published of the methods of a contest, nothing of it if that is of another property.

    Args:
        contest: whose config tells it in `compare.published`.
    """

    def __init__(self, contest: Contest) -> None:
        self._contest = contest
        self.everything: Mapping[str, Any] = contest.settings["published"]
        """Whatever property it is of."""

    def of(self, name: str) -> Mapping[str, Any]:
        """Return what is published of a property; nothing if it is of another one."""
        return self.everything if self.everything.get("property") == name else {}

    def scores(self, name: str) -> dict[str, Estimate]:
        """Return the scores at the main size by method, with their intervals."""
        by_alpha = {float(alpha): found for alpha, found in self.of(name).get("scores", {}).items()}
        return {
            key: Estimate(mean, mean - half_width, mean + half_width)
            for key, (mean, half_width) in by_alpha.get(self._contest.main_alpha, {}).items()
        }

    def remarks(self, table: str) -> list[str]:
        """Return what is to be said of published numbers under a table."""
        return list(self.everything.get("remarks", {}).get(table, []))

    def budget(self, name: str) -> dict[str, list[tuple[float, Estimate]]]:
        """Return the scores by method after hours of work, each with its interval.

        They are published by how often a full model could be retrained meanwhile.
        """
        facts = self.of(name)
        hours = facts.get("seconds", {}).get("retraining", math.nan) / 3600
        if not hours > 0:
            return {}
        return {
            key: [
                (times * hours, Estimate(mean, mean - half, mean + half))
                for times, mean, half in points
            ]
            for key, points in facts.get("budget", {}).items()
        }

    def coalitions(self, name: str, method: str) -> list[int]:
        """Return after how many of its coalitions a method's scores are published.

        These are as many as fit in the published hours, by the published seconds of each.
        """
        facts, seconds = self.of(name), self.seconds(method)
        if not seconds:
            return []
        spent = facts.get("seconds", {}).get("retraining", math.nan)
        points = facts.get("budget", {}).get(method, [])
        return [int(times * spent // seconds) for times, *_ in points if spent > 0]

    def speedup(self, method: str) -> float | None:
        """Return how many times faster than retraining a method is published to be."""
        stated = self.everything.get("speedup", {}).get(method)
        known, slow = self.seconds(method), self.everything.get("seconds", {}).get("retraining")
        return stated or (slow / known if known and slow else None)

    def change(self, name: str, which: str, method: str, share: float) -> Estimate | None:
        """Return the change without, or with only, a share, and the ends of its box."""
        facts = self.of(name)
        value = _at(facts.get(which, {}).get(method, {}), share)
        ends = _at(facts.get(f"{which}_range", {}).get(method, {}), share)
        return None if value is None else Estimate(value, *(ends or (math.nan, math.nan)))

    def agreement(self, name: str, method: str) -> Mapping[str, float]:
        """Return what is known of fine-tuning with the steps of a method against retraining.

        Nothing unless the method is the study's own but for the steps.
        """
        known = self.of(name).get("agreement", {})
        return known.get(str(self._contest.steps_as_own(method)), {})

    def seconds(self, method: str) -> float | None:
        """Return the seconds of a coalition, of another number of steps from its minutes."""
        known = self.everything.get("seconds", {}).get(method)
        minutes = self.agreement(self.everything.get("property", ""), method).get("minutes")
        return known if known is not None or minutes is None else 60 * minutes


def elsewhere_grid(contest: Contest, everybody: Sequence[Contestant]) -> Grid | None:
    """Return what is published and stands beside no other table, or None if there is nothing."""
    published = contest.settings["published"]
    rows = [*_sizes(contest), *_agreement(contest), *_top(contest, everybody)]
    rows += [[what, None, str(value)] for what, value in published.get("others", {}).items()]
    if not rows:
        return None
    columns = [Column("what", ""), Column("ours", ""), Column("published", "")]
    return Grid("Published besides", columns, rows, [f"Published: {published['source']}."])


def _sizes(contest: Contest) -> Iterator[list[str | None]]:
    """Yield the parameters of the model that fine-tuning starts from, ours in millions too."""
    start, ours = contest.own.game.start, dict[str, str]()
    with suppress(ArtifactError):  # nothing was pruned yet
        facts = contest.own.manifest(start)["facts"]
        before, after = facts["parameters_before"], facts["parameters_after"]
        ours = {"full": f"{before / 1e6:.3g} million", "pruned": f"{after / 1e6:.3g} million"}
        ours["removed"] = f"{1 - after / before:.1%}"
    said = {"full": "parameters before pruning", "pruned": "after it", "removed": "share removed"}
    for key, value in contest.settings["published"].get("parameters", {}).items():
        share = f"{value:.0%}" if key == "removed" else f"{value:g} million"
        yield [said[key], ours.get(key), share]


def _agreement(contest: Contest) -> Iterator[list[str | None]]:
    """Yield the agreement over steps, but for what stands beside ours."""
    published = contest.settings["published"]
    measured = published.get("property") in contest.own.properties
    ours = {
        contest.steps_as_own(name): name in contest.games and contest.reference != OWN
        for name in (contest.distinct_games if measured else ())
    }
    for steps, facts in published.get("agreement", {}).items():
        beside = {"pearson", "mean_absolute_error", "minutes"} if int(steps) in ours else set()
        beside |= {"pearson_of_credits"} if ours.get(int(steps)) else set()
        left = [
            text.format(facts[key])
            for key, text in _AGREEMENT.items()
            if key in facts.keys() - beside
        ]
        if left:
            yield [f"fine-tuning against retraining, {steps} steps", None, ", ".join(left)]


def _top(contest: Contest, everybody: Sequence[Contestant]) -> Iterator[list[str | None]]:
    published = contest.settings["published"]
    theirs, name = published.get("top", []), published.get("property")
    if not theirs:
        return
    own = next(one for one in everybody if one.name == OWN)
    found = own.fit(name, None) if name in contest.own.properties else None
    ours = None
    if found is not None:
        sign = -1 if contest.own.properties[name].higher_is_better else 1
        first = np.argsort(sign * found.credits, kind="stable")[: len(theirs)]
        ours = ", ".join(contest.own.partition.names[i] for i in first)
    yield [f"top contributors for {name}", ours, ", ".join(theirs)]


def _at(known: Mapping[Any, Any], share: float) -> Any:
    return {float(key): value for key, value in known.items()}.get(share)
