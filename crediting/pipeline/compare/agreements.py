"""How well every way of obtaining utilities stands in for retraining, and what it costs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement import Fidelity, fidelity
from crediting.errors import LedgerError
from crediting.game.coalition import CoalitionMatrix
from crediting.ledger import Ledger
from crediting.pipeline.compare.baselines import read_proxy
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.compare.needs import agreement_coalitions
from crediting.pipeline.estimate.stage import read_utilities
from crediting.pipeline.evaluate.stopping import hours_spent
from crediting.pipeline.report.trust import remember_fidelity
from crediting.pipeline.study import Study
from crediting.randomness import derive_seed

RESAMPLES = 2000


class Agreement(NamedTuple):
    """Utilities of a method, `cheap`, against those of retraining, `better`, (m,), of one size.

    `steps` are those of its fine-tuning, None where there is none or coalitions take more or fewer.
    """

    name: str
    steps: int | None
    alpha: float
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

    Coalitions of one size are compared: among several, size alone would explain much of it.
    """
    found = []
    everything = agreement_coalitions(contest)
    for key, cheap_ones in _cheap(contest, everything, name).items():
        for alpha, rows in _by_size(contest, everything).items():
            better = _utilities(contest.truth.repeated(1), everything[rows], name)
            cheap = cheap_ones[rows]
            both = ~np.isnan(cheap) & ~np.isnan(better)
            if both.sum() > 2:
                pair = cheap[both], better[both]
                seed = derive_seed("agreement", key, alpha)
                agreed = fidelity(*pair, RESAMPLES, seed)
                found.append(Agreement(key, _steps(contest, key), alpha, agreed, *pair))
    return found


def remember(contest: Contest, name: str, found: Sequence[Agreement]) -> None:
    """Keep, for reports, how every method stands for retraining at the main size."""
    for one in found if contest.retrains else ():
        if one.alpha == contest.main_alpha and one.name in contest.distinct_games:
            remember_fidelity(contest.distinct_games[one.name], {name: one.fidelity})


def _cheap(contest: Contest, rows: CoalitionMatrix, name: str) -> dict[str, NDArray[np.float64]]:
    """Return the utilities (m,) of coalitions by every method and by every proxy there is."""
    games = contest.distinct_games.items()
    found = {key: _utilities(study.repeated(1), rows, name) for key, study in games}
    for key in contest.own.baselines:
        proxy = read_proxy(contest.own, key, rows)
        if proxy is not None and name in proxy:
            found[key] = proxy[name]
    return found


def paces(contest: Contest) -> Iterator[Pace]:
    """Yield what a coalition costs by retraining and by every method that has been evaluated."""
    games = contest.reached()
    for key, study in {"retraining": contest.truth, **contest.distinct_games}.items():
        ledger = Ledger.peek(study.stored_in(study.game.address), study.game.address.fingerprint)
        if ledger is not None:
            with ledger:
                seconds = ledger.mean_seconds()
            if seconds is not None:
                asked = games.get(key)  # retraining and other steps draw none
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


def _utilities(study: Study, rows: CoalitionMatrix, name: str) -> NDArray[np.float64]:
    try:
        return read_utilities(study, study.game, rows, name)
    except LedgerError:
        return np.full(len(rows), np.nan)
