"""Which estimator can use the coalitions of which design, and how many of them."""

from numbers import Integral

import numpy as np

from crediting.errors import ConfigError
from crediting.game.coalition import CoalitionMatrix
from crediting.game.game import Sample
from crediting.interfaces import Design, Estimator
from crediting.pipeline.estimate.finding import estimates_shapley_values, unseen_sizes
from crediting.progress import say

RECORDED = "recorded"
"""The design of whoever recorded a table: all of its rows."""


def kind_of(design: Design) -> str:
    """Return the name of the design that one draws like, for estimators: its own if of no other."""
    return str(getattr(design, "like", design.name))


def drawn(design: Design, n_players: int) -> Sample:
    """Return the coalitions of a design, which may be anybody's.

    Raises:
        ConfigError: it returns something else, coalitions that are none, or others every time.
    """
    once, again = (_checked(design, n_players) for _ in range(2))
    if not (
        np.array_equal(once.coalitions, again.coalitions)
        and np.array_equal(once.log_probabilities, again.log_probabilities)
    ):
        raise ConfigError(
            f"design={design.name}: expected sample({n_players}) to return the same whenever it is "
            "asked, got other coalitions the second time; draw from a seed among its settings, as "
            "np.random.default_rng(self.seed) does, or a study cannot go on where it was"
        )
    return once


def _checked(design: Design, n_players: int) -> Sample:
    sample = design.sample(n_players)
    wanted = f"design={design.name}: expected sample({n_players}) to return"
    if not isinstance(sample, Sample):
        raise ConfigError(f"{wanted} a crediting.game.game.Sample, got {type(sample).__name__}")
    rows, chances = np.asarray(sample.coalitions), np.asarray(sample.log_probabilities)
    if rows.ndim != 2 or rows.shape[1] != n_players:
        raise ConfigError(
            f"{wanted} coalitions of shape (m, {n_players}), a row for each, got {rows.shape}"
        )
    if rows.dtype.kind not in "biuf" or not np.isin(rows, (0, 1)).all():
        raise ConfigError(f"{wanted} coalitions of 0 and 1, or booleans; others are among them")
    if chances.shape != (len(rows),) or chances.dtype.kind not in "iuf":
        raise ConfigError(
            f"{wanted} a log-probability for each of its {len(rows)} coalitions, got shape "
            f"{chances.shape}"
        )
    if not np.isfinite(chances).all():
        raise ConfigError(f"{wanted} log-probabilities, of which some are NaN or infinite")
    return Sample(rows.astype(np.bool_), chances.astype(np.float64))


def check_pairing(estimator: Estimator, design: str, coalitions: CoalitionMatrix) -> None:
    """Check that an estimator can use the coalitions (m, n) drawn by the design of this name.

    Raises:
        ConfigError: it cannot, or they are too few.
        LedgerError: one that it cannot do without is not among them.
    """
    if design not in estimator.designs:
        able = " or ".join(f"design={name}" for name in estimator.designs if name != RECORDED)
        if design == RECORDED:
            raise ConfigError(
                f"game.rows: estimator={estimator.name} cannot use whatever rows a table has; "
                f"set game.rows=design, with {able}"
            )
        raise ConfigError(
            f"estimator={estimator.name} cannot use the coalitions of design={design}; "
            f"it can use {able}"
        )
    where = "game.path" if design == RECORDED else "design.budget"
    check_number(estimator, coalitions, where)


def advise(estimator: Estimator, coalitions: CoalitionMatrix) -> None:
    """Say if coalitions (m, n) are of few sizes, or fewer than an estimator knows to be of use."""
    advice = [estimator.advice(coalitions)] if hasattr(estimator, "advice") else []
    if estimates_shapley_values(estimator):
        advice.append(unseen_sizes(coalitions))
    for sentence in filter(None, advice):
        say(f"{estimator.name}: {sentence}")


def check_number(estimator: Estimator, coalitions: CoalitionMatrix, where: str) -> None:
    """Check that coalitions (m, n) suffice for an estimator; `where` is the key that limits them.

    Raises:
        ConfigError: they are too few.
        LedgerError: one that it cannot do without is not among them.
    """
    drawn, n_players = coalitions.shape
    least = estimator.minimum_coalitions(n_players)
    if not isinstance(least, Integral):
        raise ConfigError(
            f"estimator={estimator.name}: expected a number of coalitions from minimum_coalitions, "
            f"got {least!r}"
        )
    if drawn < least:
        raise ConfigError(
            f"{where}: estimator={estimator.name} needs at least {least} coalitions for "
            f"{n_players} contributors, got {drawn}"
        )
    if hasattr(estimator, "require"):
        estimator.require(coalitions)
