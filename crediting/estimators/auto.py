"""The estimator that predicts held-out pairs of complements best."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError, LedgerError
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix
from crediting.game.game import EvaluatedSample
from crediting.game.rows import Floats, distinct_rows

FEWEST_PAIRS_PER_FOLD = 2
"""With fewer to be held out, which candidate does best is a matter of luck."""


class Candidate(Protocol):
    """An estimator; see `crediting.interfaces.Estimator`."""

    name: ClassVar[str]

    def minimum_coalitions(self, n_players: int) -> int:
        """Return the least number of coalitions with which it can work."""

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits."""


class Fold(NamedTuple):
    """The sample without some pairs, and the pairs it keeps and lacks as `Differences`."""

    sample: EvaluatedSample
    kept: "Differences"
    held_out: "Differences"


class Differences(NamedTuple):
    """Signs (p, n), 1 for members and -1 for others, and v(S) - v(N without S), (p,)."""

    signs: Floats
    values: Floats


@dataclass(frozen=True)
class Auto:
    """Whichever candidate has the least squared error on pairs that it was not shown.

    Credits predict the difference of a pair as sum_i x_i phi_i, x_i being 1 for members and -1 for
    others, plus an odd curve of the coalition's size, fitted to the pairs that were shown. A single
    contributor and its complement are always shown: designs that put them first evaluate all of
    them, and estimators rely on that.

    Args:
        candidates: estimators by any name; the first one is taken if there are too few pairs to
            hold out, and on ties.
        folds: into which the pairs are divided at random.
        seed: of these folds.

    Raises:
        ConfigError: there is no candidate, or one that estimates no Shapley values, or there are
            fewer than 2 folds.
    """

    candidates: Mapping[str, Candidate]
    folds: int
    seed: int

    name: ClassVar[str] = "auto"
    designs: ClassVar[tuple[str, ...]] = (
        *("paired_uniform", "paired_kernel", "stratified", "exhaustive", "recorded"),
    )

    def __post_init__(self) -> None:
        if not self.candidates:
            raise ConfigError(
                "estimator.candidates: expected at least one estimator, got none; "
                "leave some of those that estimator=auto brings."
            )
        for key, candidate in self.candidates.items():
            value = getattr(candidate, "estimates", "Shapley value")
            if value != "Shapley value":
                raise ConfigError(
                    f"estimator.candidates.{key}: expected an estimator of Shapley values, got one "
                    f"of {value}s; leave it out"
                )
        if self.folds < 2:
            raise ConfigError(f"estimator.folds: expected 2 or more, got {self.folds}; 5 is usual.")

    def minimum_coalitions(self, n_players: int) -> int:
        """Return the least that any candidate needs."""
        return min(each.minimum_coalitions(n_players) for each in self.candidates.values())

    def require(self, coalitions: CoalitionMatrix) -> None:
        """Raise ConfigError if settings of a candidate do not fit the n of coalitions (m, n).

        A candidate that lacks coalitions is out later, for others to be chosen.
        """
        with_complements = np.concatenate([coalitions, ~coalitions])
        for candidate in self.candidates.values():
            required: Callable[[CoalitionMatrix], None] | None
            required = getattr(candidate, "require", None)
            if required:
                with suppress(LedgerError):
                    required(with_complements)

    def advice(self, coalitions: CoalitionMatrix) -> str | None:
        """Return what the first candidate says of so few coalitions (m, n), if anything."""
        first = next(iter(self.candidates.values()))
        advise: Callable[[CoalitionMatrix], str | None] | None = getattr(first, "advice", None)
        return advise(coalitions) if advise else None

    def __call__(self, sample: EvaluatedSample) -> Attribution:
        """Return the credits of the chosen candidate, whose explanation says why it was chosen.

        Raises:
            LedgerError: no candidate can use the sample.
        """
        folds = list(self._split(sample))
        errors, reasons = self._judge(folds) if folds else ({}, {})
        if errors:
            chosen = min(errors, key=lambda name: errors[name])
            found = self.candidates[chosen](sample)
        else:
            chosen, found = self._first(sample)
        why = _told(chosen, errors, reasons) if folds else self._told_of_few(chosen)
        return replace(
            found, estimator=f"auto: {chosen}", explanation=f"{why} {found.explanation}".strip()
        )

    def _told_of_few(self, chosen: str) -> str:
        able = "" if chosen == next(iter(self.candidates)) else " that can use these coalitions"
        return (
            f"Chose {chosen}, the first candidate{able}: fewer than "
            f"{FEWEST_PAIRS_PER_FOLD * self.folds} pairs of complements could be held out to "
            "compare them."
        )

    def _first(self, sample: EvaluatedSample) -> tuple[str, Attribution]:
        """Return the first candidate that can use a sample, and what it makes of it."""
        refused: LedgerError | None = None
        for name, candidate in self.candidates.items():
            try:
                return name, candidate(sample)
            except LedgerError as error:
                refused = refused or error
        assert refused is not None, "there is at least one candidate"
        raise refused

    def _judge(self, folds: list[Fold]) -> tuple[dict[str, float], dict[str, str]]:
        """Return the mean squared errors of candidates, and why others have none."""
        errors, reasons = {}, {}
        for name, candidate in self.candidates.items():
            try:
                missed = np.concatenate([_prediction_errors(candidate, fold) for fold in folds])
                errors[name] = float((missed**2).mean())
            except LedgerError as error:
                reasons[name] = str(error)
        return errors, reasons

    def _split(self, sample: EvaluatedSample) -> Iterator[Fold]:
        """Yield the folds, none if there are too few pairs that can be held out."""
        rows = distinct_rows(sample)
        sizes = rows.coalitions.sum(axis=1)
        inner = (sizes > 1) & (sizes < sample.n_players - 1) & (rows.partners >= 0)
        halves = np.flatnonzero(inner & rows.coalitions[:, 0])
        halves = halves[np.lexsort(rows.coalitions[halves].T)]  # whatever the order of the rows
        if len(halves) < FEWEST_PAIRS_PER_FOLD * self.folds:
            return
        differences = Differences(
            np.where(rows.coalitions[halves], 1.0, -1.0),
            (rows.utilities - rows.of_partner(rows.utilities))[halves],
        )
        order = np.random.default_rng(self.seed).permutation(len(halves)) % self.folds
        pair_of = np.full(len(sizes), -1)
        pair_of[halves] = pair_of[rows.partners[halves]] = np.arange(len(halves))
        pairs = pair_of[rows.which]
        for number in range(self.folds):
            out = order == number
            yield Fold(
                _without(sample, pairs, out),
                Differences(*(part[~out] for part in differences)),
                Differences(*(part[out] for part in differences)),
            )


def _without(
    sample: EvaluatedSample, pairs: NDArray[np.int64], out: NDArray[np.bool_]
) -> EvaluatedSample:
    """Return a sample without some pairs.

    Args:
        sample: of m rows.
        pairs: that the rows belong to, -1 for rows that are never left out, (m,).
        out: which pairs to leave out.
    """
    optional = pairs >= 0
    kept = ~optional | ~out[pairs]
    # The law of what could have been left out is thinned, and that of all rows is over fewer.
    shift = np.log(len(kept) / kept.sum()) + np.where(optional, np.log(1 - out.mean()), 0)
    return replace(
        sample,
        coalitions=sample.coalitions[kept],
        log_probabilities=(sample.log_probabilities + shift)[kept],
        utilities=sample.utilities[kept],
    )


def _prediction_errors(candidate: Candidate, fold: Fold) -> Floats:
    """Return by how much a candidate misses the held-out differences, (p,).

    Raises:
        LedgerError: it cannot use the rest of the sample.
    """
    least = candidate.minimum_coalitions(fold.sample.n_players)
    if len(fold.sample) < least:
        raise LedgerError(f"it needs {least} coalitions, a fold leaves {len(fold.sample)}")
    credits = candidate(fold.sample).credits
    left_over = fold.kept.values - fold.kept.signs @ credits
    curve = np.linalg.lstsq(_size_curve(fold.kept), left_over)[0]
    return fold.held_out.values - fold.held_out.signs @ credits - _size_curve(fold.held_out) @ curve


def _size_curve(pairs: Differences) -> Floats:
    """Return t and t^3 for the relative size t = (2 |S| - n) / n, (p, 2)."""
    t = pairs.signs.mean(axis=1)
    return np.column_stack([t, t**3])


def _told(chosen: str, errors: Mapping[str, float], reasons: Mapping[str, str]) -> str:
    compared = ", ".join(f"{name} {error:.4g}" for name, error in errors.items())
    out = "; ".join(f"{name} is out: {reason.rstrip('.')}" for name, reason in reasons.items())
    why = f"by mean squared error on held-out pair differences ({compared})"
    return f"Chose {chosen} {why if errors else 'as the first'}{'; ' + out if out else ''}."
