"""What more certainty would cost."""

import numpy as np
from numpy.typing import NDArray

_UNITS = (
    ("second", 1, 120),
    ("minute", 60, 120),
    ("hour", 3600, 48),
    ("day", 86400, 730),
    ("year", 31557600, float("inf")),
)


def forecast(
    n_coalitions: int, mean_seconds: float, workers: int, std_errors: NDArray[np.float64]
) -> str:
    """Return one sentence on what intervals half as wide would cost.

    Sampling error falls with the square root of the number of coalitions, so half the width takes
    4 times as many: 3 times as many more. All further coalitions are assumed to be new; a design
    that draws independently repeats some, which cost nothing, so this is an upper bound.

    `mean_seconds` is the time of one evaluation, `std_errors` (n,) are those of the credits: zero
    where exact, NaN where unknown.

    Raises:
        ValueError: there is no worker, or the time is negative, NaN or infinite.
    """
    if workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    if np.isnan(std_errors).any():
        return (
            "The uncertainty of these credits is unknown, "
            "so what it would cost to halve it cannot be forecast."
        )
    if not np.any(std_errors):
        return "The credits are exact: nothing remains uncertain from the sampling of coalitions."
    additional = 3 * n_coalitions
    duration = humanise_seconds(additional * mean_seconds / workers)
    crew = "1 worker" if workers == 1 else f"{workers} workers"
    return (
        "To be twice as certain (intervals half as wide) takes 4x as many coalitions, "
        f"i.e. {additional:,} more to evaluate: {duration} on {crew}."
    )


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
