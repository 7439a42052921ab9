"""How well every way of obtaining utilities stands in for retraining, and what it costs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement import Fidelity, fidelity
from crediting.game.coalition import CoalitionMatrix, distinct, is_proper
from crediting.pipeline.compare.baselines import read_proxy
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.compare.needs import agreement_coalitions, utilities
from crediting.pipeline.evaluate.stopping import hours_spent
from crediting.pipeline.report.trust import remember_fidelity
from crediting.pipeline.study import Study
from crediting.randomness import derive_seed

RESAMPLES = 2000


class Agreement(NamedTuple):
    """Utilities of a method, `cheap`, against those of retraining, `better`, (m,).

    `steps` are those of its fine-tuning, None where there is none or coalitions take more or fewer.
    `alpha` is the size of the coalitions, None where they are as the study's design draws them.
    """

    name: str
    steps: int | None
    alpha: float | None
    fidelity: Fidelity
    cheap: NDArray[np.float64]
    better: NDArray[np.float64]


class Pace(NamedTuple):
    """What a coalition of a method costs on average, and how many it took in how many hours."""

    name: str
    seconds: float
    coalitions: int
    hours: float


def agreements(contest: Contest, name: str) -> list[Agreement]:
    """Return the agreement with retraining of every method for a property, size by size.

    Among coalitions of several sizes size alone explains much of it. So the paper compares, though:
    those that the study draws come last, as far as they are retrained for another method's credits.
    """
    tests = agreement_coalitions(contest)
    drawn = contest.own.sample.coalitions
    proper = distinct(drawn[is_proper(drawn)])
    by_size = _by_size(contest, tests)
    of_tests = {**_by_methods(contest, tests, name), **_by_proxies(contest, tests, name)}
    of_drawn = _by_methods(contest, proper, name)
    better, better_drawn = (_once(contest.truth, rows, name) for rows in (tests, proper))
    found = []
    for key, cheap in of_tests.items():
        for alpha, rows in by_size.items():
            found += _agreement(contest, key, alpha, cheap[rows], better[rows])
        if key in of_drawn:
            found += _agreement(contest, key, None, of_drawn[key], better_drawn)
    return found


def _agreement(
    contest: Contest,
    key: str,
    alpha: float | None,
    cheap: NDArray[np.float64],
    better: NDArray[np.float64],
) -> list[Agreement]:
    """Return the agreement of utilities (m,) in a list, which is empty where too few are known."""
    both = ~np.isnan(cheap) & ~np.isnan(better)
    if both.sum() <= 2:
        return []
    pair = cheap[both], better[both]
    agreed = fidelity(*pair, RESAMPLES, derive_seed("agreement", key, alpha))
    return [Agreement(key, _steps(contest, key), alpha, agreed, *pair)]


def remember(contest: Contest, name: str, found: Sequence[Agreement]) -> None:
    """Keep, for reports, how every method stands for retraining at the main size."""
    for one in found if contest.retrains else ():
        if one.alpha == contest.main_alpha and one.name in contest.distinct_games:
            remember_fidelity(contest.distinct_games[one.name], name, one.fidelity)


def _by_methods(
    contest: Contest, rows: CoalitionMatrix, name: str
) -> dict[str, NDArray[np.float64]]:
    """Return the utilities (m,) of coalitions by every method."""
    games = contest.distinct_games.items()
    return {key: _once(study, rows, name) for key, study in games}


def _by_proxies(
    contest: Contest, tests: CoalitionMatrix, name: str
) -> dict[str, NDArray[np.float64]]:
    """Return the utilities (m,) of the test coalitions by every proxy there is."""
    proxies = {key: read_proxy(contest.own, key, tests) for key in contest.own.baselines}
    return {key: proxy[name] for key, proxy in proxies.items() if proxy and name in proxy}


def paces(contest: Contest) -> Iterator[Pace]:
    """Yield what a coalition costs by retraining and by every method that has been evaluated."""
    games = contest.reached()
    ways = [(key, study, games.get(key)) for key, study in contest.distinct_games.items()]
    for key, study, asked in [("retraining", contest.truth, None), *ways]:
        with study.recorded(study.game) as ledger:
            seconds = ledger.mean_seconds()
        if seconds is not None:
            # retraining and other steps draw no coalitions
            drawn, hours = (len(asked.sample), hours_spent(asked, None)) if asked else (0, 0.0)
            yield Pace(key, seconds, drawn, hours)


def _steps(contest: Contest, name: str) -> int | None:
    study = contest.distinct_games.get(name)
    if study is None or getattr(study.game.finetuning, "steps_vary", False):
        return None
    recipe = study.game.finetuning.recipe
    return recipe.steps if recipe else None


def _by_size(contest: Contest, rows: CoalitionMatrix) -> dict[float, NDArray[np.intp]]:
    """Return which of the rows are test coalitions of each size."""
    sizes = rows.sum(axis=1)
    of = {alpha: int(tests[0].sum()) for alpha, tests in contest.tests.items()}
    return {alpha: np.flatnonzero(sizes == size) for alpha, size in of.items()}


def _once(study: Study, rows: CoalitionMatrix, name: str) -> NDArray[np.float64]:
    """Return the utilities (m,) of the first replicate."""
    return utilities(study.repeated(1), rows, name)[:, 0]
