"""What more certainty would cost."""

import math
from collections.abc import Collection, Mapping
from math import comb
from typing import NamedTuple

USUAL_RATE = 0.5
"""Standard errors of independent draws fall with the square root of their number."""
SLOWEST, FASTEST = 0.25, 2.0
"""Rates beyond these are taken for accidents of two noisy standard errors."""

_UNITS = (
    ("second", 1, 120),
    ("minute", 60, 120),
    ("hour", 3600, 48),
    ("day", 86400, 730),
    ("year", 31557600, float("inf")),
)


class Precision(NamedTuple):
    """How well the credits for a property are known, in mean standard errors; NaN where unknown."""

    now: float
    """After all coalitions that were evaluated."""
    earlier: float
    """After fewer."""
    growth: float
    """How many times as many coalitions there are now."""
    floor: float
    """What the noise of utilities would leave if every coalition there is were evaluated."""

    @property
    def rate(self) -> float:
        """Power of the number of coalitions with which the error above the floor falls."""
        before, now = _above(self.floor, self.earlier), _above(self.floor, self.now)
        if not (before > 0 and now > 0 and self.growth > 1):
            return USUAL_RATE
        seen = math.log(before / now) / (2 * math.log(self.growth))
        # an error that did not fall says more of how it was told than of how it will fall
        return min(max(seen, SLOWEST), FASTEST) if seen > 0 else USUAL_RATE

    @property
    def to_halve(self) -> float:
        """How many times as many coalitions halve `now`; infinite if the floor forbids it."""
        now, wanted = _above(self.floor, self.now), _above(self.floor, self.now / 2)
        return (now / wanted) ** (1 / (2 * self.rate)) if wanted > 0 else math.inf


def _above(floor: float, error: float) -> float:
    """Return the variance that is not that of the floor, where this is known."""
    return error**2 if math.isnan(floor) else error**2 - floor**2


def noise_floor(n_players: int, noise_variance: float) -> float:
    """Return the standard error of a Shapley value from every coalition, given that of a utility.

    By definition a coalition of s others enters with and without the player, each time with the
    weight 1 / (n C(n-1, s)).
    """
    weights = sum(1 / comb(n_players - 1, others) for others in range(n_players))
    return math.sqrt(2 * noise_variance * weights) / n_players


class Spent(NamedTuple):
    """What was evaluated and how fast; `mean_seconds` of one evaluation are NaN where unknown."""

    coalitions: int
    left: int
    """Coalitions that exist and are not evaluated."""
    replicates: int
    mean_seconds: float
    workers: int

    def cost(self, more: int) -> str:
        """Say what so many more coalitions would take.

        Raises:
            ValueError: there is no worker, or the time is negative or infinite.
        """
        if self.workers < 1:
            raise ValueError(f"expected at least 1 worker, got {self.workers}")
        times = f" x {self.replicates} replicates" if self.replicates > 1 else ""
        said = f"{more:,} more to evaluate{times}"
        if math.isnan(self.mean_seconds):
            return said
        duration = humanise_seconds(more * self.replicates * self.mean_seconds / self.workers)
        return f"{said}: {duration} on {self.workers} worker{'' if self.workers == 1 else 's'}"


def forecast(precisions: Mapping[str, Precision], spent: Spent) -> str:
    """Return in a few sentences what it takes to halve the intervals of every property.

    All further coalitions are assumed to be new; a design that draws independently repeats some,
    which cost nothing, so this is an upper bound.

    Raises:
        ValueError: as `Spent.cost`.
    """
    unknown = [name for name, known in precisions.items() if math.isnan(known.now)]
    exact = [name for name, known in precisions.items() if known.now == 0]
    open_ended = {n: p for n, p in precisions.items() if n not in unknown and n not in exact}
    noisy = [name for name, known in open_ended.items() if math.isinf(known.to_halve)]
    slow = {name: known for name, known in open_ended.items() if name not in noisy}
    sentences = []
    if unknown:
        sentences.append(
            f"The uncertainty of the credits for {_listed(unknown)} is unknown, so what it would "
            "cost to halve it cannot be forecast."
        )
    if exact:
        sentences.append(
            f"The credits for {_listed(exact)} are exact: nothing remains uncertain from the "
            "sampling of coalitions."
        )
    if slow:
        sentences.append(_more_coalitions(slow, spent))
    if noisy:
        sentences.append(
            f"More coalitions alone cannot halve the intervals for {_listed(noisy)}, because the "
            f"noise of training and generating remains: raise replicates (now {spent.replicates}) "
            "or generation.images."
        )
    return " ".join(sentences)


def _more_coalitions(slow: Mapping[str, Precision], spent: Spent) -> str:
    """Say how many more coalitions halve the intervals of these, or that fewer make them exact."""
    factor = max(known.to_halve for known in slow.values())
    more = math.ceil((factor - 1) * spent.coalitions)
    if spent.left == 0:
        return (
            "Every coalition is evaluated: estimator=exact leaves no sampling error for "
            f"{_listed(slow)}."
        )
    if more < spent.left:
        return (
            f"Intervals half as wide for {_listed(slow)} take {factor:.2g}x as many coalitions, "
            f"i.e. {spent.cost(more)}."
        )
    noise = any(known.floor > 0 for known in slow.values())
    return (
        f"Evaluating all other coalitions makes the credits for {_listed(slow)} exact"
        f"{' but for noise' if noise else ''}, i.e. {spent.cost(spent.left)}."
    )


def _listed(names: Collection[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def humanise_seconds(seconds: float) -> str:
    """Return a duration as one would say it, like "about 12 minutes".

    Raises:
        ValueError: the duration is negative, NaN or infinite.
    """
    if not seconds >= 0:
        raise ValueError(f"expected a duration of 0 seconds or more, got {seconds}")
    if seconds < 1:
        return "less than a second"
    for unit, size, limit in _UNITS:
        amount = seconds / size
        said = round(amount, 1 if amount < 10 else 0)
        if said < limit:
            return f"about {said:,g} {unit}{'' if said == 1 else 's'}"
    raise ValueError(f"expected a finite duration, got {seconds}")
