"""What replicates tell: the mean of a coalition's values, and how much noise it still carries."""

import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from toy_executor import ToyExecutor

from crediting.errors import LedgerError
from crediting.game import noise
from crediting.game.coalition import coalition_key
from crediting.pipeline.estimate.stage import estimate, read_sample
from crediting.pipeline.evaluate.stage import evaluate


def noise_of_means(values):
    """Return what is said of values (coalitions, replicates)."""
    coalitions, replicate = np.indices(values.shape)
    return noise.noise_of_means(values.ravel(), coalitions.ravel(), replicate.ravel()).variance


def layout(rows=40, replicates=3, scale=2.0, seed=0):
    """Return values (rows, replicates) of coalitions that differ, with noise."""
    generator = np.random.default_rng(seed)
    return generator.normal(0, 50, (rows, 1)) + generator.normal(0, scale, (rows, replicates))


def test_the_estimate_is_without_bias():
    for replicates in (2, 3, 5):
        found = [noise_of_means(layout(6, replicates, 2.0, seed)) for seed in range(3000)]
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(4 / replicates, abs=4 * error)


def test_two_replicates_are_half_the_variance_of_their_difference_over_two():
    values = layout(replicates=2)
    differences = values[:, 0] - values[:, 1]
    assert noise_of_means(values) == pytest.approx(np.var(differences, ddof=1) / 2 / 2)


def test_what_is_common_to_a_coalition_or_to_a_replicate_is_no_noise():
    values = layout()
    generator = np.random.default_rng(1)
    shifted = values + generator.normal(0, 9, (len(values), 1)) + generator.normal(0, 9, (1, 3))
    assert noise_of_means(shifted) == pytest.approx(noise_of_means(values))


@pytest.mark.parametrize("shape", [(40, 1), (1, 3)])
def test_nothing_is_known_without_a_second_replicate_or_coalition(shape):
    assert math.isnan(noise_of_means(np.zeros(shape)))


# ------------------------------------------------------------------------------ from the ledger


@pytest.fixture
def toy(study):
    """Return a function that makes evaluated studies of 8 contributors and one property."""

    def make(*overrides: str, **options):
        chosen = ("partition.contributors=8", "property=[fid]", *overrides)
        made = replace(study(*chosen), executor=ToyExecutor(**options))
        evaluate(made)
        return made

    return make


PAIRS = ("estimator=bayesian", "design=paired_uniform", "design.budget=200")


def test_noise_is_measured_over_all_coalitions_and_ends(toy):
    assert math.isnan(read_sample(toy(*PAIRS, noise=0.5), "fid").noise_variance)
    twice = read_sample(toy(*PAIRS, "replicates=2", noise=0.5), "fid")
    spread = 0.25 / 2 * math.sqrt(2 / 201)
    assert twice.noise_variance == pytest.approx(0.25 / 2, abs=3 * spread)


def test_a_coalition_drawn_twice_was_evaluated_once(toy):
    drawn = toy(
        "estimator=kernel_shap", "design=shapley_kernel", "design.budget=60", "replicates=2"
    )
    once = toy("estimator=kernel_shap", "design=shapley_kernel", "design.budget=60")
    repeats = [coalition_key(row) for row in drawn.sample.coalitions]
    assert len(set(repeats)) < len(repeats)
    first = read_sample(once, "fid")
    both = read_sample(drawn, "fid")
    known = {
        coalition_key(row): 2 * (mean - value)  # the second replicate less the first
        for row, mean, value in zip(both.coalitions, both.utilities, first.utilities, strict=True)
    }
    ends = [2 * (both.v_empty - first.v_empty), 2 * (both.v_full - first.v_full)]
    differences = np.array([*known.values(), *ends])
    assert both.noise_variance == pytest.approx(differences.var(ddof=1) / 2 / 2)


def test_a_design_that_draws_the_ends_takes_them_from_the_endpoints(toy):
    all_of_them = ("estimator=exact", "partition.contributors=3", "replicates=2")
    sample = read_sample(toy(*all_of_them, "endpoints=dense", noise=0.5), "fid")
    sizes = sample.coalitions.sum(axis=1)
    assert sample.utilities[sizes == 0] == sample.v_empty
    assert sample.utilities[sizes == 3] == sample.v_full
    same = read_sample(toy(*all_of_them, noise=0.5), "fid")
    np.testing.assert_array_equal(sample.utilities, same.utilities)


def test_what_failed_once_is_left_out(toy):
    whole = toy(*PAIRS, "replicates=2")
    bad = coalition_key(whole.sample.coalitions[50])
    lacking = toy(
        *PAIRS, "replicates=2", "allow_missing=true", "seed=1", "design.seed=0", failing=[bad]
    )
    sample = read_sample(lacking, "fid")
    assert len(sample) == 199
    assert sample.noise_variance == pytest.approx(read_sample(whole, "fid").noise_variance, rel=0.1)


@pytest.mark.parametrize(("failed", "enough"), [(2, True), (3, False)])
def test_as_many_as_the_estimator_needs_must_be_left(study, failed, enough):
    words = ("partition.contributors=8", "property=[fid]", "allow_missing=true")
    pair = ("estimator=kernel_banzhaf", "design=bernoulli", "design.budget=20")
    made = study(*words, *pair)
    assert made.estimator.minimum_coalitions(8) == 18
    keys = [coalition_key(row) for row in made.sample.coalitions]
    drawn_once = [key for key in keys if keys.count(key) == 1]
    left = replace(made, executor=ToyExecutor(failing=drawn_once[:failed]))
    evaluate(left)
    with nullcontext() if enough else pytest.raises(LedgerError, match="needs 18"):
        assert len(estimate(left)["fid"].sample) == 18


def test_what_failed_for_another_property_only_is_no_failure_of_this_one(study, toy):
    words = (*PAIRS[:2], "partition.contributors=8", "allow_missing=true")
    few, all_of_them = (*words, "design.budget=20"), (*words, "design.budget=40")
    toy(*few, "property=[diversity]")
    last = coalition_key(study(*all_of_them).sample.coalitions[39])
    toy(*all_of_them, failing=[last])
    with pytest.raises(LedgerError, match="20 of 40 coalitions are not evaluated yet"):
        estimate(study(*all_of_them, "property=[diversity]"))
