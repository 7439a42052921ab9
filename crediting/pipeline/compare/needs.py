"""What a comparison needs evaluated, what the ledgers lack of it, and what that would cost."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.game.coalition import CoalitionMatrix, coalition_keys, distinct
from crediting.pipeline.address import GameSpec
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.estimate.stage import read_replicates
from crediting.pipeline.evaluate.stage import evaluate_coalitions
from crediting.pipeline.prune import prune_for
from crediting.pipeline.study import Study
from crediting.progress import say


class Need(NamedTuple):
    """Coalitions (m, n) of a game, as often as the study repeats each, and what they are for."""

    purpose: str
    study: Study
    spec: GameSpec
    coalitions: CoalitionMatrix


class Lack(NamedTuple):
    """How many evaluations a need lacks, and the hours of work they take; None where unknown.

    `what` is counted, if not evaluations.
    """

    purpose: str
    missing: int
    hours: float | None
    what: str = "evaluations"


def needs_of_methods(contest: Contest) -> Iterator[Need]:
    """Yield what the credits of every method are estimated from."""
    for name, study in contest.reached().items():
        for spec in study.games:
            yield Need(f"credits of {name}", study, spec, study.coalitions(spec))


def needs_of_truth(contest: Contest) -> Iterator[Need]:
    """Yield the test coalitions, one training of all of them after the other."""
    for times in range(1, contest.trainings + 1):
        truth = contest.truth.repeated(times)
        for alpha, coalitions in contest.tests.items():
            purpose = f"test coalitions of {alpha:g} n, training {times}"
            yield Need(purpose, truth, truth.game, coalitions)


def needs_of_agreement(contest: Contest) -> Iterator[Need]:
    """Yield the test coalitions at which every fine-tuning is held against retraining."""
    coalitions = agreement_coalitions(contest)
    if len(coalitions):
        for name, study in contest.distinct_games.items():
            once = study.repeated(1)
            yield Need(f"agreement of {name} with retraining", once, once.game, coalitions)


def agreement_coalitions(contest: Contest) -> CoalitionMatrix:
    """Return the first test coalitions of every size, (m, n)."""
    first = [tests[: contest.settings["agreement"]] for tests in contest.tests.values()]
    return distinct(np.concatenate(first))


def utilities(study: Study, rows: CoalitionMatrix, name: str) -> NDArray[np.float64]:
    """Return a property of coalitions (m, n) by replicate, (m, r); NaN where not evaluated yet."""
    try:
        return read_replicates(study, study.game, rows, name)
    except LedgerError:
        return np.full((len(rows), len(study.replicates)), np.nan)


def meet(needs: Iterable[Need]) -> None:
    """Evaluate what ledgers lack, one need after the other.

    Raises:
        EvaluationError: coalitions failed, and allow_missing is off.
    """
    for need in needs:
        if lacks([need]):
            say(f"compare: {need.purpose}")
            prune_for(need.study, need.spec)
            evaluate_coalitions(need.study, need.spec, need.coalitions)


def lacks(needs: Iterable[Need]) -> list[Lack]:
    """Return what needs still lack, each evaluation once, under the first that lacks it."""
    found, counted = [], set[tuple[str, str, int]]()
    for need in needs:
        lacking, seconds_each = _missing(need)
        new = lacking - counted
        counted |= new
        hours = None if seconds_each is None else len(new) * seconds_each / 3600
        if new:
            found.append(Lack(need.purpose, len(new), hours))
    return found


def _missing(need: Need) -> tuple[set[tuple[str, str, int]], float | None]:
    """Return the game, coalition and replicate of what is missing, and mean seconds so far."""
    keys = coalition_keys(need.coalitions)
    times = len(need.study.replicates)
    game = need.spec.address.fingerprint
    with need.study.recorded(need.spec) as ledger:
        tasks = ledger.missing(keys, times, need.study.property_fingerprints)
        return {(game, task.coalition, task.replicate) for task in tasks}, ledger.mean_seconds()
