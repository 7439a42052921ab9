"""Components of variance: recovered from simulated layouts, and equal to sums worked by hand."""

import math

import numpy as np
import pytest

from crediting.agreement import variance_components

COALITION, TRAINING, GENERATION = 9.0, 2.0, 1.0


def layout(seed, rows=12, columns=2, variances=(COALITION, TRAINING, GENERATION)):
    """Return utilities of all images and of both halves, with effects that replicates share.

    The property is linear: that of all images is the mean of those of the halves, each of which
    has twice the variance.
    """
    generator = np.random.default_rng(seed)
    coalition, training, generation = np.sqrt(variances)
    means = generator.normal(0, coalition, (rows, 1)) + generator.normal(0, 5, (1, columns))
    trained = means + generator.normal(0, training, (rows, columns))
    common = generator.normal(0, 7, (2, 1, columns))
    luck = generator.normal(0, generation * math.sqrt(2), (2, rows, columns))
    first, second = trained + luck + common
    return (first + second) / 2, first, second


@pytest.mark.parametrize("columns", [2, 4])
def test_components_are_recovered_without_bias(columns):
    found = np.array(
        [
            [part.variance for part in variance_components(*layout(seed, 12, columns), 0.5)]
            for seed in range(3000)
        ]
    )
    errors = found.std(axis=0) / math.sqrt(len(found))
    for mean, truth, error in zip(found.mean(axis=0), (9, 2, 1), errors, strict=True):
        # cutting negative estimates off at 0 adds little where they are rare, as here
        assert mean == pytest.approx(truth, abs=4 * error + 0.02)


def test_one_large_layout_gives_each_within_its_sampling_error():
    found = variance_components(*layout(0, 4000, 2), 0.5)
    for part, truth in zip(found, (COALITION, TRAINING, GENERATION), strict=True):
        assert part.variance == pytest.approx(truth, abs=4 * truth * math.sqrt(2 / part.degrees))
    assert found.generation.degrees == 2 * 3999
    assert sum(found.shares().values()) == pytest.approx(1)
    assert found.shares()["coalition"] == pytest.approx(0.75, abs=0.05)


def test_of_two_coalitions_and_replicates_it_is_arithmetic():
    utilities = np.array([[10.0, 12.0], [2.0, 0.0]])
    first, second = np.array([[1.0, 3.0], [0.0, 1.0]]), np.zeros((2, 2))
    found = variance_components(utilities, first, second, 0.5)
    # means 11 and 1: MS_C = 2 * 50; residuals are +-1: MS_E = 4 / 1
    assert found.coalition.variance == pytest.approx((100 - 4) / 2)
    assert found.coalition.degrees == pytest.approx(96**2 / (100**2 + 4**2))
    # halves: variances 1/2 and 2 over replicates, mean 5/4, times 1/2 over 2
    assert found.generation.variance == pytest.approx(5 / 16)
    assert found.generation.degrees == 2
    assert found.training.variance == pytest.approx(4 - 5 / 16)


def test_a_smaller_part_of_the_images_counts_for_less():
    utilities, first, second = layout(3)
    whole = variance_components(utilities, first, second, 0.5).generation.variance
    third = variance_components(utilities, first, second, 1 / 3).generation.variance
    assert third == pytest.approx(whole * 2 / 3)


def test_what_comes_out_negative_is_zero():
    utilities, first, second = layout(1, 40, 2, (0.0, 0.0, 1.0))
    swollen = variance_components(utilities, 3 * first, 3 * second, 0.5)
    assert swollen.training.variance == 0
    assert math.isnan(swollen.training.degrees)
    equal = variance_components(utilities * 0, first * 0, second * 0, 0.5)
    assert [part.variance for part in equal] == [0, 0, 0]
    assert all(math.isnan(share) for share in equal.shares().values())


def test_what_was_not_measured_is_unknown_and_spoils_no_other():
    utilities, first, second = layout(2)
    lost = utilities.copy()
    lost[3, 1] = math.nan
    kept = np.delete(utilities, 3, axis=0)
    found = variance_components(lost, first, second, 0.5)
    expected = variance_components(kept, first, second, 0.5)
    assert found.coalition == expected.coalition
    assert found.generation == variance_components(utilities, first, second, 0.5).generation
    unknown = variance_components(utilities, first * math.nan, second, 0.5)
    assert math.isnan(unknown.generation.variance)
    assert math.isnan(unknown.training.variance)
    assert unknown.coalition.variance > 0


def test_of_one_replicate_only_generation_is_known_and_of_one_coalition_nothing():
    utilities, first, second = layout(4)
    once = variance_components(utilities[:, :1], first[:, :1], second[:, :1], 0.5)
    assert once.generation.variance == pytest.approx((first - second)[:, 0].var(ddof=1) / 4)
    assert math.isnan(once.coalition.variance)
    assert math.isnan(once.training.variance)
    lone = variance_components(utilities[:1], first[:1], second[:1], 0.5)
    assert all(math.isnan(part.variance) for part in lone)
    assert all(math.isnan(share) for share in lone.shares().values())
