"""Everybody whose credits are compared: methods, baselines, and scores from a file.

Credits are in the direction of the property: where lower is better, those who do most for it have
the lowest. Scores of baselines and files, which are higher for those, are turned around for that.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crediting.errors import DataError, LedgerError
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, coalition_keys
from crediting.game.contributor import look
from crediting.game.game import EvaluatedSample
from crediting.pipeline.compare.baselines import Scores, hours_of, read_scores
from crediting.pipeline.compare.contest import Contest
from crediting.pipeline.estimate.finding import credits_of
from crediting.pipeline.estimate.stage import read_sample
from crediting.pipeline.evaluate.stopping import hours_spent
from crediting.pipeline.study import Study


class Fit(NamedTuple):
    """Credits (n,), and how many coalitions were left out of the fit, being test coalitions.

    `leaks` tells that the estimator could not do without them.
    """

    credits: NDArray[np.float64]
    left_out: int
    leaks: bool


@dataclass(frozen=True)
class Contestant:
    """One of those compared: its name, its kind, and what it says of a property.

    `fit` takes the property and the test coalitions, or None to leave none out; it returns None
    where something is not evaluated yet, or where `refusal`, which takes the property, says why
    there are no credits and never will be. `hours` are of work.
    """

    name: str
    kind: str
    fit: Callable[[str, CoalitionMatrix | None], Fit | None]
    hours: float | None
    refusal: Callable[[str], str | None]


def contestants(contest: Contest) -> list[Contestant]:
    """Return everybody, the study's own credits first.

    Raises:
        DataError: a file of scores cannot be read, or does not name the contributors.
    """
    return [*_methods(contest), *_baselines(contest.own), *from_files(contest.own)]


def estimated(study: Study, name: str) -> Attribution | None:
    """Return the attribution of a study, or None where too little is evaluated for one."""
    sample = _evaluated(study, name)
    return None if sample is None else _attributed(study, sample)


def fit(study: Study, name: str, tests: CoalitionMatrix | None) -> Fit | None:
    """Return the credits that a study estimates without the test coalitions, where it can."""
    everything = _evaluated(study, name)
    if everything is None:
        return None
    clean = _without(everything, tests)
    attribution = _attributed(study, clean)
    if attribution is not None:
        return Fit(attribution.credits, len(everything) - len(clean), leaks=False)
    attribution = _attributed(study, everything)
    return None if attribution is None else Fit(attribution.credits, 0, leaks=True)


def _evaluated(study: Study, name: str) -> EvaluatedSample | None:
    try:
        return read_sample(study, name)
    except LedgerError:
        return None


def _without(sample: EvaluatedSample, tests: CoalitionMatrix | None) -> EvaluatedSample:
    """Return a sample without the test coalitions."""
    shared = set() if tests is None else set(coalition_keys(tests))
    stays = np.array([key not in shared for key in coalition_keys(sample.coalitions)], dtype=bool)
    return replace(
        sample,
        coalitions=sample.coalitions[stays],
        log_probabilities=sample.log_probabilities[stays],
        utilities=sample.utilities[stays],
    )


def _attributed(study: Study, sample: EvaluatedSample) -> Attribution | None:
    """Return what the estimator makes of a sample, or None where that is too small for it."""
    if len(sample) < study.estimator.minimum_coalitions(sample.n_players):
        return None
    try:
        return credits_of(study.estimator, sample)
    except LedgerError:
        return None


def _methods(contest: Contest) -> Iterator[Contestant]:
    for name, study in contest.reached().items():
        hours = hours_spent(study, None) or None
        yield Contestant(name, "game", partial(fit, study), hours, partial(_refusal, study))


def _refusal(study: Study, name: str) -> str | None:
    """Return why an estimator gives no credits although all that it asked for is evaluated."""
    sample = _evaluated(study, name)
    if sample is None:
        return None
    try:
        study.estimator(sample)
    except LedgerError as error:
        return str(error)
    return None


def _baselines(study: Study) -> Iterator[Contestant]:
    for name in study.baselines:
        scores = read_scores(study, name)
        hours = None if scores is None else hours_of(study, name)
        yield _scored(study, name, "baseline", scores, hours)


def from_files(study: Study) -> list[Contestant]:
    """Return those of whom a file of scores tells; what is raised, as `contestants`."""
    found = []
    for name, node in study.config["compare"]["scores"].items():
        path = Path(node if isinstance(node, str) else node["file"])
        scores = _read_file(name, path, study.partition.names, list(study.properties))
        found.append(_scored(study, name, "scores", scores, None))
    return found


def _scored(
    study: Study, key: str, kind: str, scores: Scores | None, hours: float | None
) -> Contestant:
    """Return who has scores by property; None where they are not computed yet."""

    def fit_of(name: str, tests: CoalitionMatrix | None) -> Fit | None:
        if scores is None or name not in scores:
            return None
        sign = 1 if study.properties[name].higher_is_better else -1
        return Fit(sign * scores[name], 0, leaks=False)

    def refusal(name: str) -> str | None:
        return None if scores is None or name in scores else "there are no scores for this property"

    return Contestant(key, kind, fit_of, hours, refusal)


def _read_file(
    key: str, path: Path, names: Sequence[str], properties: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return the scores that a .csv holds, by property; a property may be absent."""
    where = f"compare.scores.{key}: {path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where} cannot be read ({error}); give the path of a .csv") from error
    columns = [name for name in (rows[0] if rows else {}) if name in properties]
    by_name = {look(row.get("contributor") or ""): row for row in rows}
    looks = [look(name) for name in names]
    if set(by_name) != set(looks) or len(rows) != len(names) or not columns:
        raise DataError(
            f"{where}: expected the column contributor with each of the {len(names)} contributors "
            f"once ({', '.join(names[:3])} ...) and a column for one of {', '.join(properties)}; "
            f"or go without it: ~compare.scores.{key}"
        )
    try:
        scores = {c: np.array([float(by_name[name][c]) for name in looks]) for c in columns}
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected a number in every row ({error})") from error
    for column, values in scores.items():
        if not np.isfinite(values).all():
            worst = names[int(np.flatnonzero(~np.isfinite(values))[0])]
            raise DataError(f"{where}: expected a finite number of {worst} in the column {column}")
    return scores
