from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from crediting.design import ShapleyKernel
from crediting.errors import ConfigError


@pytest.mark.parametrize("n_players", [2, 3, 20, 258])
def test_smaller_budget_is_a_prefix_of_a_larger_one(n_players):
    large, small = (ShapleyKernel(budget, 7).sample(n_players) for budget in (128, 64))
    np.testing.assert_array_equal(large.coalitions[:64], small.coalitions)
    np.testing.assert_array_equal(large.log_probabilities[:64], small.log_probabilities)


def test_seed_decides_the_coalitions():
    first, again, other = (ShapleyKernel(40, seed).sample(12).coalitions for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert np.any(first[1:] != other[:-1]), "seeds share their streams"


def test_sizes_follow_the_law_of_the_paper():
    n, budget = 9, 4000
    sizes = ShapleyKernel(budget, 0).sample(n).coalitions.sum(axis=1)
    law = np.array([(n - 1) / (s * (n - s)) for s in range(1, n)])
    observed = np.bincount(sizes, minlength=n + 1)
    assert observed[0] == observed[n] == 0
    assert chisquare(observed[1:n], budget * law / law.sum()).pvalue > 0.01


def test_subsets_of_a_size_are_uniform():
    coalitions = ShapleyKernel(4000, 0).sample(5).coalitions
    pairs = coalitions[coalitions.sum(axis=1) == 2]
    _, observed = np.unique(pairs, axis=0, return_counts=True)
    assert len(observed) == comb(5, 2)
    assert chisquare(observed).pvalue > 0.01


@pytest.mark.parametrize("n_players", [2, 3, 7])
def test_probabilities_of_all_drawable_coalitions_sum_to_one(n_players):
    sample = ShapleyKernel(3000, 1).sample(n_players)
    distinct, first = np.unique(sample.coalitions, axis=0, return_index=True)
    assert len(distinct) == 2**n_players - 2
    assert np.exp(sample.log_probabilities[first]).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n_players", [2, 20, 258])
def test_probabilities_of_all_sizes_sum_to_one(n_players):
    sample = ShapleyKernel(4000, 0).sample(n_players)
    probability = dict(
        zip(sample.coalitions.sum(axis=1).tolist(), sample.log_probabilities, strict=True)
    )
    # A size and its complement are equally likely, which fills in what was never drawn.
    total = sum(
        comb(n_players, size) * np.exp(probability.get(size, probability.get(n_players - size, 0)))
        for size in range(1, n_players)
    )
    assert total == pytest.approx(1, abs=1e-9)


def test_log_probabilities_follow_the_formula_where_binomials_overflow():
    n = 1100
    sample = ShapleyKernel(60, 0).sample(n)
    normaliser = sum((n - 1) / (s * (n - s)) for s in range(1, n))
    for size, log_probability in zip(
        sample.coalitions.sum(axis=1), sample.log_probabilities, strict=True
    ):
        size = int(size)
        binomial = sum(np.log(n - k) - np.log(k + 1) for k in range(size))
        law = (n - 1) / (size * (n - size)) / normaliser
        assert log_probability == pytest.approx(np.log(law) - binomial, rel=1e-10)


def test_budget_below_one_is_refused():
    with pytest.raises(ConfigError, match=r"design\.budget: expected at least 1 .* got 0; "):
        ShapleyKernel(0, 0)
