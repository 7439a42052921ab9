"""When evaluating may end before the design does, and where it did.

After the first coalitions of a fixed schedule the estimator is asked how sure it is. Its answer
rests on recorded values alone, so the same command later comes to the same end by asking again.

To look often, and stop at the first interval narrow enough, is to stop at intervals that came out
narrow by luck. A rule on what the estimator says must therefore hold at two looks in a row. On 400
noisy games of 8 players, intervals of 95 % then covered between 92.6 and 96.9 %, over rules on
width and ranks, estimators and thresholds, against 91.9 to 97.4 % at the first look that would do
and 93.9 to 97.9 % at a fixed number of coalitions; a third look gained nothing more.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crediting.errors import LedgerError
from crediting.game.attribution import Attribution
from crediting.game.coalition import coalition_keys
from crediting.pipeline.estimate.stage import read_sample
from crediting.pipeline.study import Study

FIRST_LOOK = 3
"""Coalitions per contributor before the estimator is asked."""
GROWTH = 1.25
"""Of the number of coalitions from one look to the next."""
ASKED = {"ci_width": -1, "rank_stability": 1, "top_probability": 1}
"""The rules that the estimator is asked about: 1 where more is surer, -1 where less is."""
IN_A_ROW = 2
"""Looks at which the estimator must be sure enough."""


def schedule(n_players: int, least: int, most: int) -> list[int]:
    """Return the numbers of coalitions at which to look, ascending, even up to the last, `most`.

    `least` is what the estimator needs. The looks for another `most` are the same but for the last.
    """
    return [*_growing(max(least, FIRST_LOOK * n_players), most), most]


def _growing(first: float, end: int) -> list[int]:
    """Return even numbers from the first on, each by GROWTH larger, below the end."""
    numbers = [_even(first)]
    while numbers[-1] < end:
        numbers.append(_even(GROWTH * numbers[-1]))
    return numbers[:-1]


def _even(number: float) -> int:
    """Return the even integer at or next above a number: pairs stay whole."""
    return 2 * math.ceil(number / 2)


class Sureness(NamedTuple):
    """Of one property; NaN where the estimator cannot tell.

    `ci_width` is the mean width of the intervals over |v(N) - v(empty)|, `top_probability` the
    probability that the most doubtful contributor is among the top ones or not, whichever is
    likelier.
    """

    ci_width: float = math.nan
    rank_stability: float = math.nan
    top_probability: float = math.nan


def sureness(attribution: Attribution, top: int, higher_is_better: bool) -> Sureness:
    """Return how sure an attribution is, of the `top` contributors among other things."""
    total = abs(attribution.v_full - attribution.v_empty)
    width = float((attribution.ci_high - attribution.ci_low).mean())
    among = attribution.top_probabilities(top, higher_is_better)
    return Sureness(
        width / total if total else math.nan,
        attribution.rank_stability(),
        float(np.maximum(among, 1 - among).min()),
    )


class Look(NamedTuple):
    """What was known after so many coalitions: hours of evaluating them, sureness by property."""

    coalitions: int
    hours: float
    properties: Mapping[str, Sureness]


@dataclass(frozen=True)
class Rules:
    """When to end; None is never. The first rule that holds for every property ends it.

    Args:
        ci_width: mean interval width over |v(N) - v(empty)| at most.
        rank_stability: at least.
        top_probability: at least.
        budget: coalitions at most.
        hours: of work, over all workers; those of a batch are known only after it.
    """

    ci_width: float | None
    rank_stability: float | None
    top_probability: float | None
    budget: int | None
    hours: float | None

    def __bool__(self) -> bool:
        return bool(self.chosen)

    @property
    def chosen(self) -> dict[str, float]:
        """The rules that there are, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def asked(self) -> list[str]:
        """Those that the estimator is asked about."""
        return [name for name in ASKED if name in self.chosen]

    def looks(self, n_players: int, least: int, drawn: int) -> list[int]:
        """Return after how many of the coalitions drawn to look: once, if that is foreseeable."""
        most = drawn if self.budget is None else min(drawn, self.budget)
        if not self.asked and self.hours is None:
            return [most]
        looks = schedule(n_players, least, most)
        if self.hours is None:
            return looks
        # hours may be over long before anybody is sure
        return [*_growing(max(least, n_players), looks[0]), *looks]

    def unsure(self, rule: str, look: Look) -> list[str]:
        """Return the properties of which the estimator is not as sure as a rule asks."""
        sign, bound = ASKED[rule], self.chosen[rule]
        return [
            name
            for name, sure in look.properties.items()
            if not sign * getattr(sure, rule) >= sign * bound
        ]

    def reason(self, looks: Sequence[Look]) -> str:
        """Return why evaluating ends after the last of these looks, or nothing if it does not."""
        recent, now = looks[-IN_A_ROW:], looks[-1]
        for rule in self.asked:
            if len(recent) == IN_A_ROW and not any(self.unsure(rule, look) for look in recent):
                return f"stop.{rule}={self.chosen[rule]:g} held at {IN_A_ROW} checks in a row"
        if self.hours is not None and now.hours >= self.hours:
            return f"stop.hours={self.hours:g} of work are done"
        if self.budget is not None and now.coalitions >= self.budget:
            return f"stop.budget={self.budget} is spent"
        return ""


def rules_of(study: Study) -> Rules:
    """Return when evaluating a study may end early."""
    return Rules(**study.config["stop"])


def looks_at(study: Study) -> list[int]:
    """Return after how many of a study's coalitions its rules are looked at."""
    n_players = len(study.partition)
    least = study.estimator.minimum_coalitions(n_players)
    return rules_of(study).looks(n_players, least, len(study.sample))


def stopped(study: Study) -> Study:
    """Return the study with the budget at which its rules ended evaluating; evaluates nothing."""
    return until_sure(study, _nothing, _nothing)


def until_sure(
    study: Study, evaluate: Callable[[Study], object], tell: Callable[[str], object]
) -> Study:
    """Evaluate studies of growing budgets until a rule ends it; return the last of them.

    Without rules there is one, the study itself.
    """
    rules, drawn = rules_of(study), len(study.sample)
    looks: list[Look] = []
    for budget in looks_at(study):
        part = study.with_budget(budget)
        evaluate(part)
        if not rules:
            break
        looks.append(_look(part))
        tell(_progress(rules, looks[-1], drawn))
        reason = rules.reason(looks)
        if reason or budget == drawn:
            tell(f"stop: ended after {budget} of {drawn} coalitions: {reason or 'these are all'}")
            break
    return part


def _nothing(_: object) -> None:
    pass


def _look(part: Study) -> Look:
    known: dict[str, Sureness] = {}
    for name in part.properties:
        known[name] = Sureness()
        with suppress(LedgerError):  # too few are left, for now; the last look would end in it
            sample = read_sample(part, name)
            if len(sample) >= FIRST_LOOK * sample.n_players:
                better = part.properties[name].higher_is_better
                known[name] = sureness(part.estimator(sample), part.top, better)
    # of its own properties alone: others, measured later, must not change where it ended
    return Look(len(part.sample), hours_spent(part, part.property_fingerprints), known)


def hours_spent(part: Study, property_fingerprints: Mapping[str, str] | None) -> float:
    """Return the hours of work in evaluating a study, as the ledgers recorded them.

    They are summed over workers: were it the time that passed, where evaluating ends would depend
    on the machine that the table is made on. Properties are those of `Ledger.seconds`.
    """
    seconds = 0.0
    for spec in part.games:
        keys = coalition_keys(part.coalitions(spec))
        with part.recorded(spec) as ledger:
            seconds += ledger.seconds(keys, len(part.replicates), property_fingerprints)
    return seconds / 3600


def _progress(rules: Rules, look: Look, drawn: int) -> str:
    """Say how far evaluating is, how sure the estimator, and what a rule still waits for."""
    known = ", ".join(
        f"{name} {' / '.join(f'{value:.2g}' for value in sure)}"
        for name, sure in look.properties.items()
        if not all(map(math.isnan, sure))
    )
    certainty = f"; interval width / rank stability / top probability of {known}" if known else ""
    waiting = {rule: rules.unsure(rule, look) for rule in rules.asked}
    wanted = [
        f"stop.{rule}={rules.chosen[rule]:g} for {' and '.join(names)}"
        for rule, names in waiting.items()
        if names
    ]
    missing = f"; not reached: {', '.join(wanted)}" if wanted else ""
    return (
        f"stop: {look.coalitions} of {drawn} coalitions, {look.hours:.2g} hours of work"
        f"{certainty}{missing}"
    )
