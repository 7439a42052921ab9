"""Against exact minimisers: where the Fisher matrix is the Hessian, the step is Newton's.

For half the squared error and residuals of +1 and -1 the gradients' outer products are those of
the derivatives of the fit, so the empirical Fisher matrix is the Gauss-Newton matrix.
"""

import copy
from itertools import chain

import pytest
import torch
from small_start import SmallStart
from torch import nn

from crediting.errors import ConfigError
from crediting.finetuning import InfluenceUnlearning, influence_unlearning
from crediting.finetuning.influence_unlearning import divide_by_fisher

NOBODY = torch.tensor([], dtype=torch.long)
BEST = torch.tensor([0.6, -0.3, 0.2], dtype=torch.float64)


class Fit(nn.Module):
    """A curve over three-dimensional inputs with the best weights; half squared errors."""

    def __init__(self, curve):
        super().__init__()
        self.frozen = nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)
        self.first = nn.Parameter(BEST[:1].clone())
        self.rest = nn.Parameter(BEST[1:].clone())
        self.curve = curve

    @property
    def weights(self):
        return torch.cat([self.first, self.rest])

    def forward(self, inputs):
        return self.curve(inputs @ self.weights) * self.frozen.mean()


def inputs_in_pairs(rows, copies=1):
    """Return inputs, twice each, and residuals +1 and -1, which make the best weights best."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    inputs = drawn.repeat_interleave(2, dim=0).repeat(copies, 1)
    return inputs, torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(rows * copies)


def regression(curve, inputs, residuals, **options):
    targets = curve(inputs @ BEST) + residuals

    def loss(module, ids):
        return ((module(inputs[ids]) - targets[ids]) ** 2).mean() / 2

    return SmallStart(Fit(curve), loss, untrained="the untrained model", **options)


def without(n, removed):
    return torch.tensor([i for i in range(n) if i not in removed.tolist()])


def newton(curve, inputs, targets, steps=20):
    """Return the weights that minimise the squared errors, found with exact Hessians."""

    def loss(weights):
        return ((curve(inputs @ weights) - targets) ** 2).mean() / 2

    weights = BEST.clone()
    for _ in range(steps):
        gradient = torch.autograd.functional.jacobian(loss, weights)
        weights = weights - torch.linalg.solve(
            torch.autograd.functional.hessian(loss, weights), gradient
        )
    return weights


def test_the_step_leads_to_the_least_squares_fit_of_what_is_kept():
    inputs, residuals = inputs_in_pairs(10)
    removed = torch.tensor([0, 3, 4, 5, 12])
    kept = without(20, removed)
    start = regression(lambda z: z, inputs, residuals)
    method = InfluenceUnlearning(1.0, 1e-7, draws=1, batch_size=1, fisher_batches=100)
    model = method.coalition_model(start, kept, removed)
    targets = inputs @ BEST + residuals
    exact = torch.linalg.lstsq(inputs[kept], targets[kept]).solution
    assert (exact - BEST).norm() > 0.1
    torch.testing.assert_close(model.weights, exact, rtol=0, atol=1e-6)


def test_for_a_curve_the_error_is_of_second_order_in_the_share_removed():
    copies = 40
    inputs, residuals = inputs_in_pairs(6, copies)
    targets = torch.exp(inputs @ BEST) + residuals
    start = regression(torch.exp, inputs, residuals)
    method = InfluenceUnlearning(1.0, 1e-7, draws=1, batch_size=1, fisher_batches=1000)
    errors, moves = [], []
    for times in (1, 2, 4):
        removed = (torch.tensor([0, 5]) + 12 * torch.arange(times)[:, None]).flatten()
        kept = without(12 * copies, removed)
        exact = newton(torch.exp, inputs[kept], targets[kept])
        model = method.coalition_model(start, kept, removed)
        errors.append((model.weights - exact).norm().item())
        moves.append((exact - BEST).norm().item())
    assert moves[1] / moves[0] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[0] == pytest.approx(4, rel=0.1)
    assert errors[2] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[2] < moves[2] / 10


@pytest.mark.parametrize("entries", [1, 4])
@pytest.mark.parametrize("size", [0.1, 3.0])
def test_of_a_mean_squared_error_the_step_is_newtons_whatever_the_loss_and_the_entries(
    size, entries
):
    """Every prediction has so many equal entries, and in one of them a residual.

    Then the outer product of an example's gradient is 2 L / D times its Hessian, exactly.
    """
    inputs, signs = inputs_in_pairs(10)
    removed = torch.tensor([0, 3, 4, 5, 12])
    kept = without(20, removed)
    residuals = torch.zeros(20, entries, dtype=torch.float64)
    residuals[torch.arange(20), torch.arange(20) % entries] = size * entries**0.5 * signs
    targets = (inputs @ BEST)[:, None] + residuals

    def loss(module, ids):
        return ((module(inputs[ids])[:, None] - targets[ids]) ** 2).mean()

    start = SmallStart(Fit(lambda z: z), loss, entries=entries)
    method = InfluenceUnlearning("auto", 1e-7, draws=2, batch_size=1, fisher_batches=100)
    model = method.coalition_model(start, kept, removed)
    exact = torch.linalg.lstsq(inputs[kept], targets.mean(dim=1)[kept]).solution
    assert (exact - BEST).norm() > 0.05 * size
    torch.testing.assert_close(model.weights, exact, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("batch_size", [4, 5, 100])
def test_the_share_of_a_mean_squared_error_is_that_of_all_examples_however_they_are_batched(
    batch_size, monkeypatch
):
    monkeypatch.setattr(influence_unlearning, "divide_by_fisher", lambda rows, damping, v: v)
    inputs, signs = inputs_in_pairs(9)
    residuals = signs * torch.arange(1, 19)  # of sizes that differ from batch to batch
    kept, removed = torch.arange(11), torch.arange(11, 18)
    start = regression(lambda z: z, inputs, residuals, entries=5)
    method = InfluenceUnlearning("auto", 0.1, 2, batch_size, fisher_batches=3)
    step = method.coalition_model(start, kept, removed).weights - BEST
    gradients = -residuals[:, None] * inputs
    towards = gradients[removed].mean(0) - gradients[kept].mean(0)
    loss = residuals[kept].square().mean() / 2
    torch.testing.assert_close(step, 2 * loss / 5 * 7 / 18 * towards)


@pytest.mark.parametrize("m", [1, 4, 9])
def test_woodburys_identity_equals_the_inverse(m):
    generator = torch.Generator().manual_seed(m)
    rows = torch.randn(m, 6, dtype=torch.float64, generator=generator)
    vector = torch.randn(6, dtype=torch.float64, generator=generator)
    fisher = rows.T @ rows / m
    expected = torch.linalg.inv(fisher + 0.3 * fisher.trace() * torch.eye(6)) @ vector
    torch.testing.assert_close(divide_by_fisher(rows, 0.3, vector), expected)


@pytest.mark.parametrize("batch_size", [2, 5, 100])
def test_gradients_are_means_over_examples_however_they_are_batched(batch_size):
    inputs, residuals = inputs_in_pairs(9)
    kept, removed = torch.arange(11), torch.arange(11, 18)
    start = regression(lambda z: z, inputs, residuals)
    # so much damping that only the direction of g_r - g_k remains
    method = InfluenceUnlearning(1.0, 1e7, 1, batch_size, fisher_batches=3)
    step = method.coalition_model(start, kept, removed).weights - BEST
    gradients = -residuals[:, None] * inputs
    expected = gradients[removed].mean(0) - gradients[kept].mean(0)
    torch.testing.assert_close(step / step.norm(), expected / expected.norm(), atol=1e-6, rtol=0)
    visited = sorted(i for _, batch in start.visited for i in batch)
    assert visited == list(range(18))


def test_gradients_are_means_over_draws_and_every_draw_sees_every_example():
    inputs, residuals = inputs_in_pairs(9)
    kept, removed = torch.arange(11), torch.arange(11, 18)
    # of four draws, those of the removed add 0 + 1 + 2 + 3 to every weight, the others nothing
    start = regression(
        lambda z: z, inputs, residuals, noise=lambda ids, draw: draw if ids.min() >= 11 else 0
    )
    method = InfluenceUnlearning(1.0, 1e7, draws=4, batch_size=5, fisher_batches=3)
    step = method.coalition_model(start, kept, removed).weights - BEST
    gradients = -residuals[:, None] * inputs
    expected = gradients[removed].mean(0) + 6 / 4 - gradients[kept].mean(0)
    torch.testing.assert_close(step / step.norm(), expected / expected.norm(), atol=1e-6, rtol=0)
    by_draw = [[batch for d, batch in start.visited if d == draw] for draw in range(4)]
    assert all(sorted(chain(*batches)) == list(range(18)) for batches in by_draw)
    assert len({str(batches) for batches in by_draw}) == 4


def test_the_batches_of_the_fisher_matrix_are_spread_over_all_draws(monkeypatch):
    inputs, residuals = inputs_in_pairs(4)
    kept, removed = torch.arange(6), torch.arange(6, 8)
    start = regression(lambda z: z, inputs, residuals, noise=lambda ids, draw: 1000.0 * draw)
    held = []
    monkeypatch.setattr(
        influence_unlearning, "divide_by_fisher", lambda rows, damping, v: held.append(rows) or v
    )
    # three batches of kept examples in each of four draws: twelve, of which every second
    method = InfluenceUnlearning(1.0, 0.1, draws=4, batch_size=2, fisher_batches=6)
    method.coalition_model(start, kept, removed)
    [rows] = held
    draws = (rows[:, 0] / (2**0.5 * 1000)).round()
    assert draws.tolist() == [0, 0, 1, 2, 2, 3]


def test_a_fisher_matrix_of_one_batch_counts_its_examples():
    inputs, residuals = inputs_in_pairs(4)
    kept, removed = torch.arange(5), torch.arange(5, 8)
    start = regression(lambda z: z, inputs, residuals)
    method = InfluenceUnlearning(0.7, 0.2, draws=1, batch_size=64, fisher_batches=8)
    step = method.coalition_model(start, kept, removed).weights - BEST
    gradients = -residuals[:, None] * inputs
    mean = gradients[kept].mean(0)
    fisher = 5 * torch.outer(mean, mean)
    damped = fisher + 0.2 * fisher.trace() * torch.eye(3)
    expected = 0.7 * 3 / 8 * torch.linalg.solve(damped, gradients[removed].mean(0) - mean)
    torch.testing.assert_close(step, expected)


def test_twice_the_scale_is_twice_the_step_and_frozen_weights_stay():
    inputs, residuals = inputs_in_pairs(6)
    start = regression(lambda z: z, inputs, residuals)
    kept, removed = torch.arange(9), torch.arange(9, 12)
    steps = []
    for scale in (0.1, 0.2):
        method = InfluenceUnlearning(scale, 0.1, draws=1, batch_size=3, fisher_batches=2)
        model = method.coalition_model(start, kept, removed)
        steps.append(model.weights - BEST)
        assert model.frozen.tolist() == [1.0, 1.0]
        assert [name for name, p in model.named_parameters() if p.requires_grad] == [
            "first",
            "rest",
        ]
    torch.testing.assert_close(steps[1], 2 * steps[0])


def test_weights_may_lie_in_memory_as_tensor_cores_like_them():
    """As runtime.channels_last=true orders them."""

    def unlearnt(memory_format):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            network = nn.Conv2d(3, 4, 3).to(memory_format=memory_format)
        data = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(1))

        def loss(module, ids):
            return module(data[ids]).square().mean()

        start = SmallStart(network, loss, untrained=None)
        kept, removed = torch.arange(4), torch.arange(4, 6)
        return InfluenceUnlearning(0.5, 0.1, 1, 2, 4).coalition_model(start, kept, removed)

    plain, ordered = (unlearnt(order) for order in (torch.contiguous_format, torch.channels_last))
    assert ordered.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ordered.weight, plain.weight, rtol=1e-4, atol=1e-6)


def test_the_ends_need_no_gradients():
    inputs, residuals = inputs_in_pairs(3)
    start = regression(lambda z: z, inputs, residuals)
    method = InfluenceUnlearning(1.0, 0.1, draws=2, batch_size=2, fisher_batches=2)
    everybody = method.coalition_model(start, torch.arange(6), NOBODY)
    assert everybody.weights.tolist() == BEST.tolist()
    assert method.coalition_model(start, NOBODY, torch.arange(6)) == "the untrained model"
    assert start.visited == []
    assert method.recipe is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", 0),
        ("scale", float("nan")),
        ("scale", "automatic"),
        ("damping", "auto"),
        ("damping", 0.0),
        ("damping", -1.0),
        ("draws", 0),
        ("batch_size", 0),
        ("fisher_batches", 0),
    ],
)
def test_impossible_settings_are_refused_by_name(key, value):
    good = {"scale": 1.0, "damping": 0.1, "draws": 1, "batch_size": 2, "fisher_batches": 2}
    InfluenceUnlearning(**good)
    bad = copy.copy(good) | {key: value}
    with pytest.raises(ConfigError, match=rf"^finetuning\.{key}: expected .*, got {value}"):
        InfluenceUnlearning(**bad)
