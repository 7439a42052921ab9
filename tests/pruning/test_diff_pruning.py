import math

import pytest
import torch
from small_unets import (
    NoisyLoss,
    ScriptedLoss,
    assert_lowest_scores_went,
    ddpm,
    other_axes,
    with_gradients,
)

from crediting.errors import ConfigError
from crediting.pruning import DiffPruning, Taylor


def prune(loss, threshold, ratio=0.5, examples=2):
    dense = ddpm().untrained(0)
    return dense, DiffPruning(ratio, threshold, examples, None).prune(dense, ddpm(), loss)[0]


@pytest.mark.parametrize(
    ("losses", "threshold", "visited", "counted"),
    [
        ([1, 0.5, 0.04, 9], 0.05, 3, 1.5),  # stops at the first below
        ([0.1, 1, 0.06, 0.04, 9], 0.05, 4, 1.16),  # of the largest so far, not of the first
        ([1, 0.05, 0.06], 0.05, 3, 1.11),  # exactly the threshold is not below
        ([1, 0.04, 0.9], 0, 3, 1.94),
        ([0.4, 0.5, 0.4], 1, 3, 0.9),
        ([0, 0, 0], 0.05, 3, 0),
    ],
)
def test_timesteps_count_until_the_loss_is_small(losses, threshold, visited, counted):
    loss = ScriptedLoss(losses)
    prune(loss, threshold, examples=7)
    assert loss.calls == [(timestep, 7) for timestep in range(visited)]
    total = sum(loss.gradients)
    assert torch.allclose(total, torch.full_like(total, counted))


def test_the_gradients_are_those_of_taylor_over_all_timesteps():
    mine, others = NoisyLoss(), NoisyLoss()
    prune(mine, threshold=0)
    Taylor(0.5, others.n_timesteps, 2, None).prune(ddpm().untrained(0), ddpm(), others)
    assert mine.calls == others.calls
    assert len(mine.gradients) == mine.n_timesteps
    for gradient, other in zip(mine.gradients, others.gradients, strict=True):
        assert torch.equal(gradient, other)


def test_the_channels_of_least_summed_change_go():
    loss = NoisyLoss()
    dense, small = prune(loss, threshold=0.05)
    visited = [timestep for timestep, _ in loss.calls]
    copied = with_gradients(dense, loss, visited, 2)

    def change(layer, axis):
        product = (layer.weight * layer.weight.grad).detach().double().numpy()
        return abs(product).sum(axis=other_axes(product, axis))

    assert visited == list(range(loss.n_timesteps))
    assert_lowest_scores_went(copied, small, change)


def test_no_gradient_remains():
    dense, small = prune(NoisyLoss(), threshold=0.5)
    assert all(p.grad is None for p in [*small.parameters(), *dense.parameters()])


def test_a_diverged_model_is_refused():
    with pytest.raises(ConfigError, match=r"^pruning: expected a finite training loss .*got nan"):
        prune(ScriptedLoss([1, math.nan]), threshold=0.05)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ConfigError, match=rf"^pruning\.threshold: .* got {threshold}; .*0\.05"):
        DiffPruning(0.5, threshold, 1, None)


def test_no_examples_are_refused():
    with pytest.raises(ConfigError, match=r"^pruning\.examples: expected 1 or more .*got 0"):
        DiffPruning(0.5, 0.05, 0, None)
