"""What several tests of estimators do with samples and credits."""

from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t

from crediting.design import PairedUniform
from crediting.game import Sample
from crediting.game.coalition import all_coalitions


def rows_of(sample, rows):
    """Return a sample with these of its rows."""
    return replace(
        sample,
        coalitions=sample.coalitions[rows],
        log_probabilities=sample.log_probabilities[rows],
        utilities=sample.utilities[rows],
    )


def ends_first(budget, seed, n_players):
    """Return coalitions of single contributors and everybody else, then others as they are drawn.

    With up to twice the contributors there are only ends, of which each is as likely.
    """
    sample = PairedUniform(max(budget, 3 * n_players), seed, ends=True).sample(n_players)
    sizes = sample.coalitions.sum(axis=1)
    between = (sizes > 1) & (sizes < n_players - 1)
    order = np.argsort(between, kind="stable")[:budget]
    chances = sample.log_probabilities[order]
    if not between[order].any():
        chances = np.full(budget, -np.log(2 * n_players))
    return Sample(sample.coalitions[order], chances)


def banzhaf_values(game):
    """By enumeration: mean of v(S + i) - v(S) over all S without i."""
    everything = all_coalitions(game.n_players)
    values = []
    for player in range(game.n_players):
        without = everything[~everything[:, player]]
        joined = without | (np.arange(game.n_players) == player)
        values.append((game(joined) - game(without)).mean())
    return np.array(values)


def error(credits, values):
    """Return the squared error against that of an equal split."""
    return ((credits - values) ** 2).sum() / ((values - values.mean()) ** 2).sum()


def degrees_of(found):
    """Return the degrees of freedom of the Student distribution that intervals are of, each."""
    reaches = (found.ci_high - found.credits) / found.std_errors
    at = (1 + found.confidence) / 2
    return np.array([brentq(lambda d, r=r: t.ppf(at, d) - r, 0.5, 1e7) for r in reaches])
