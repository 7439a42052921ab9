"""The estimator that predicts held-out pairs of complements best, in terms of Shapley values.

Credits phi predict the difference v(S) - v(N without S) as sum_i x_i phi_i, x_i being 1 for members
and -1 for others. Weighed by the Shapley kernel, the mean squared error over all pairs is that of
the Shapley values plus 2 / (1 + 1/2 + ... + 1/(n - 1)) times the squared error of the credits,
whatever the game. So whichever credits predict best are nearest to the Shapley values, once every
pair weighs the kernel over its probability to be evaluated. Where all pairs weigh the same, those
of middling size decide, which Shapley values of a game that saturates predict badly. A curve of the
coalition's size is taken off first: it favours nobody, as errors in credits that sum to zero have
no mean over coalitions of one size.

Source: Charnes et al., "Extremal principle solutions of games in characteristic function form",
1988 (the kernel); Covert & Lee, "Improving KernelSHAP", 2021 (its matrix).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError, LedgerError
from crediting.estimators.pairs.differences import Pairs, pairs_of
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
    """The sample without some pairs, the pairs that it keeps, and those to be judged by."""

    sample: EvaluatedSample
    kept: Pairs
    judged: Pairs


@dataclass(frozen=True)
class Auto:
    """Whichever candidate has the least squared error on pairs that it was not shown.

    Where every single contributor is there with its complement, these pairs are always shown, and
    judged by as well: designs that put them first evaluate all of them, so they are known of any
    game, and estimators rely on that.

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
                errors[name] = _mean_squared_error(candidate, folds)
            except LedgerError as error:
                reasons[name] = str(error)
        return errors, reasons

    def _split(self, sample: EvaluatedSample) -> Iterator[Fold]:
        """Yield the folds, none if there are too few pairs that can be held out."""
        rows = distinct_rows(sample)
        halves = rows.halves()
        pairs = pairs_of(rows, halves, sample.v_full - sample.v_empty)
        optional = ~pairs.always_there
        n_optional = int(optional.sum())
        if n_optional < FEWEST_PAIRS_PER_FOLD * self.folds:
            return
        fold_of = np.full(len(halves), -1)
        fold_of[optional] = np.random.default_rng(self.seed).permutation(n_optional) % self.folds
        of_row = np.full(len(rows.utilities), -1)
        of_row[halves] = of_row[rows.partners[halves]] = fold_of
        # those that are always shown are judged by in every fold
        pairs = pairs._replace(weights=np.where(optional, 1, 1 / self.folds) * pairs.weights)
        for number in range(self.folds):
            out = fold_of == number
            shown = _without(sample, of_row[rows.which], number, out.sum() / n_optional)
            yield Fold(shown, pairs.of(~out), pairs.of(out | ~optional))


def _without(
    sample: EvaluatedSample, fold_of_row: NDArray[np.int64], fold: int, share: float
) -> EvaluatedSample:
    """Return a sample without one fold.

    Args:
        sample: of m rows.
        fold_of_row: -1 for rows that are never left out, (m,).
        fold: to leave out.
        share: of the pairs that could have been left out, which are in this fold.
    """
    kept = fold_of_row != fold
    # The law of what could have been left out is thinned, and that of all rows is over fewer.
    thinned = np.where(fold_of_row >= 0, np.log(1 - share), 0)
    shift = thinned + np.log(len(kept) / kept.sum())
    return replace(
        sample,
        coalitions=sample.coalitions[kept],
        log_probabilities=(sample.log_probabilities + shift)[kept],
        utilities=sample.utilities[kept],
    )


def _mean_squared_error(candidate: Candidate, folds: list[Fold]) -> float:
    """Return the weighed mean over the folds of the squared errors of a candidate.

    Raises:
        LedgerError: it cannot use the rest of the sample.
    """
    missed = [fold.judged.weights @ _prediction_errors(candidate, fold) ** 2 for fold in folds]
    return float(sum(missed) / sum(fold.judged.weights.sum() for fold in folds))


def _prediction_errors(candidate: Candidate, fold: Fold) -> Floats:
    """Return by how much a candidate misses the differences that it is judged by, (p,)."""
    least = candidate.minimum_coalitions(fold.sample.n_players)
    if len(fold.sample) < least:
        raise LedgerError(f"it needs {least} coalitions, a fold leaves {len(fold.sample)}")
    credits = candidate(fold.sample).credits
    left_over = fold.kept.differences - fold.kept.signs @ credits
    curve = np.linalg.lstsq(_size_curve(fold.kept), left_over)[0]
    judged = fold.judged
    return judged.differences - judged.signs @ credits - _size_curve(judged) @ curve


def _told(chosen: str, errors: Mapping[str, float], reasons: Mapping[str, str]) -> str:
    compared = ", ".join(f"{name} {error:.4g}" for name, error in errors.items())
    out = "; ".join(f"{name} is out: {reason.rstrip('.')}" for name, reason in reasons.items())
    why = f"by mean squared error on held-out pair differences, weighed by the kernel ({compared})"
    return f"Chose {chosen} {why if errors else 'as the first'}{'; ' + out if out else ''}."


def _size_curve(pairs: Pairs) -> Floats:
    """Return t and t^3 for the relative size t, and t apart where utilities jump, (p, 3)."""
    inner = np.where(pairs.at_ends, 0, pairs.relative_sizes)
    ends = np.where(pairs.at_ends, pairs.relative_sizes, 0)
    return np.column_stack([inner, inner**3, ends])
