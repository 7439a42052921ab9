"""What retraining says of everybody's credits: datamodel scores, at the end and over the budget."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.agreement import (
    DatamodelScore,
    ScoreDifference,
    datamodel_score,
    difference,
    mean_absolute_error,
    pearson,
)
from crediting.game.coalition import CoalitionMatrix
from crediting.pipeline.compare.contest import OWN, Contest
from crediting.pipeline.compare.contestants import Contestant, Fit, fit
from crediting.pipeline.compare.needs import utilities
from crediting.pipeline.compare.published import Published
from crediting.pipeline.evaluate.stopping import hours_spent
from crediting.pipeline.study import Study
from crediting.randomness import derive_seed

RESAMPLES = 2000
BUDGETS = (0.25, 0.5, 0.75)
"""Shares of a method's coalitions at which it is judged, besides all of them."""
FEW = 0.1
"""A share of the test coalitions that may be left out for lack of trainings that others have."""


class Trained(NamedTuple):
    """Test coalitions of one size (m, n) and their utilities by training seed, (m, r)."""

    alpha: float
    coalitions: CoalitionMatrix
    utilities: NDArray[np.float64]


class Judged(NamedTuple):
    """What became of a contestant: scores by alpha, and by how much the study's own exceeds it.

    Scores that are undefined, such as those of equal credits, are absent.
    """

    contestant: Contestant
    fits: dict[float, Fit]
    scores: dict[float, DatamodelScore]
    own_lead: ScoreDifference | None


class BudgetPoint(NamedTuple):
    """A method after so many coalitions: hours of work, and its score.

    `error` is the mean absolute difference of its credits from those of the contest's reference
    after all of its coalitions, `correlation` Pearson's with them; None for the reference then.
    """

    coalitions: int
    hours: float
    score: DatamodelScore
    error: float | None
    correlation: float | None


def trained(contest: Contest, name: str) -> dict[float, Trained]:
    """Return the test coalitions that were trained, by alpha.

    Where not all were trained as often as asked for, those count that all others were, too; but a
    few that failed, or were not trained so often yet, are left out instead.
    """
    study = contest.truth.repeated(contest.trainings)
    found = {}
    for alpha, coalitions in contest.tests.items():
        values = utilities(study, coalitions, name)
        leading = np.cumprod(~np.isnan(values), axis=1).sum(axis=1).astype(int)
        times = common_trainings(leading)
        if times:
            enough = leading >= times
            found[alpha] = Trained(alpha, coalitions[enough], values[enough, :times])
    return found


def common_trainings(trainings: NDArray[np.intp]) -> int:
    """Return how many trainings nearly all coalitions have that have any, given their numbers (m,).

    0 where nothing was trained.
    """
    numbers = np.sort(trainings[trainings > 0])
    return int(numbers[math.floor(FEW * len(numbers))]) if len(numbers) else 0


def judge(contest: Contest, everybody: Sequence[Contestant], name: str) -> list[Judged]:
    """Return what retraining says of everybody's credits for a property."""
    tests = trained(contest, name)
    main = contest.main_alpha
    fits = {
        one.name: {
            alpha: found
            for alpha, test in tests.items()
            if (found := one.fit(name, test.coalitions)) is not None
        }
        for one in everybody
    }
    own = fits[OWN].get(main)
    judged = []
    for one in everybody:
        scores = {alpha: _score(found, tests[alpha]) for alpha, found in fits[one.name].items()}
        scores = {alpha: score for alpha, score in scores.items() if not math.isnan(score.score)}
        theirs = fits[one.name].get(main)
        lead = None
        if own is not None and theirs is not None and one.name != OWN:
            lead = _lead(own, theirs, tests[main])
        judged.append(Judged(one, fits[one.name], scores, lead))
    return judged


def clean_credits(contest: Contest, judged: Sequence[Judged]) -> dict[str, NDArray[np.float64]]:
    """Return everybody's credits (n,), by name, without the test coalitions of the main size."""
    main = contest.main_alpha
    return {one.contestant.name: one.fits[main].credits for one in judged if main in one.fits}


def over_budget(
    contest: Contest, judged: Sequence[Judged], name: str
) -> dict[str, list[BudgetPoint]]:
    """Return the main score of every method after growing numbers of its coalitions.

    `judged` is what became of everybody after all of them.
    """
    test = trained(contest, name).get(contest.main_alpha)
    if test is None:
        return {}
    whole = {one.contestant.name: one.fits.get(contest.main_alpha) for one in judged}
    games = contest.reached()
    reference = games[contest.reference]
    curves, published = {}, Published(contest)
    for key, study in games.items():
        points = []
        for part in parts_of(study, published.coalitions(name, key)):
            found = whole[key] if part is study else fit(part, name, test.coalitions)
            final = None if part is reference else whole[contest.reference]
            if found is not None and not found.leaks:
                points.append(_point(part, found, test, final))
        if len(points) > 1:
            curves[key] = points
    return curves


def parts_of(study: Study, besides: Iterable[int] = ()) -> list[Study]:
    """Return the study with growing shares of its budget, in whole pairs, and with all of it.

    `besides` are further budgets, of which those that exceed its own are left out.
    """
    if not study.can_shrink:
        return []
    least, most = study.estimator.minimum_coalitions(len(study.partition)), len(study.sample)
    shares = {2 * math.floor(share * most / 2) for share in BUDGETS}
    budgets = sorted({*shares, *besides, most})
    return [study.with_budget(budget) for budget in budgets if max(least, 1) <= budget <= most]


def _point(part: Study, found: Fit, test: Trained, reference: Fit | None) -> BudgetPoint:
    point = BudgetPoint(len(part.sample), hours_spent(part, None), _score(found, test), None, None)
    if reference is None:
        return point
    pair = found.credits, reference.credits
    return point._replace(error=mean_absolute_error(*pair), correlation=pearson(*pair))


def _score(found: Fit, test: Trained) -> DatamodelScore:
    seed = derive_seed("datamodel score", test.alpha)
    return datamodel_score(found.credits, test.coalitions, test.utilities, RESAMPLES, seed)


def _lead(own: Fit, theirs: Fit, test: Trained) -> ScoreDifference:
    seed = derive_seed("datamodel score", test.alpha)
    return difference(own.credits, theirs.credits, test.coalitions, test.utilities, RESAMPLES, seed)
