import numpy as np
import pytest
import torch
from small_unets import NoisyLoss, assert_lowest_scores_went, ddpm, kept, other_axes, with_gradients

from crediting.errors import ConfigError
from crediting.models import DDPM
from crediting.pruning import Taylor
from crediting.pruning.taylor import spread


def change(layer, axis):
    """Closed form: the loss changes by |sum of w g| if a channel's weights go, to first order."""
    product = (layer.weight * layer.weight.grad).detach().double().numpy()
    return abs(product.sum(axis=other_axes(product, axis)))


def test_the_channels_that_change_the_loss_least_go():
    dense, loss = ddpm().untrained(0), NoisyLoss()
    small, _ = Taylor(0.5, 3, 4, None).prune(dense, ddpm(), loss)
    copied = with_gradients(dense, loss, [1, 3, 5], 4)
    assert_lowest_scores_went(copied, small, change)


def test_the_dimensions_of_the_time_embedding_that_change_the_loss_least_go():
    dense, loss = ddpm().untrained(0), NoisyLoss()
    small, _ = Taylor(0.3, 3, 4, None).prune(dense, ddpm(), loss)
    copied = with_gradients(dense, loss, [1, 3, 5], 4)
    first, second = copied.time_embedding.linear_1, copied.time_embedding.linear_2
    inner = kept(change(first, 0) + change(second, 1), 1, 20)
    assert torch.equal(small.time_embedding.linear_1.weight, first.weight[inner])


def test_first_order_is_what_the_loss_really_changes_by():
    # scaling a weight w by (1 - h) changes the loss by -h sum(w g) + O(h^2)
    dense, loss = ddpm().untrained(0).double(), NoisyLoss()
    copied = with_gradients(dense, loss, [2], 2)
    layer, h = copied.mid_block.resnets[0].conv1, 1e-5
    expected = change(layer, 0)
    for channel in range(3):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                saved = layer.weight[channel].clone()
                layer.weight[channel] *= 1 + sign * h
                values.append(loss.value(copied, 2, 2).item())
                layer.weight[channel] = saved
        slope = (values[0] - values[1]) / (2 * h)
        assert abs(slope) == pytest.approx(expected[channel], rel=1e-5)


def test_every_chosen_timestep_is_visited_once():
    loss = NoisyLoss(n_timesteps=6)
    Taylor(0.5, 3, 7, None).prune(ddpm().untrained(0), ddpm(), loss)
    assert loss.calls == [(1, 7), (3, 7), (5, 7)]
    assert len(loss.gradients) == 3


def test_no_gradient_remains():
    dense = ddpm().untrained(0).train()
    with torch.no_grad():
        small, _ = Taylor(0.5, 2, 2, None).prune(dense, ddpm(), NoisyLoss())
    assert all(p.grad is None for p in [*small.parameters(), *dense.parameters()])
    assert all(p.requires_grad for p in small.parameters())
    assert small.training


def test_timesteps_are_spread_evenly():
    assert spread(1, 1000) == [500]
    assert spread(4, 1000) == [125, 375, 625, 875]
    assert spread(1000, 1000) == list(range(1000))
    gaps = np.diff(spread(7, 1000))
    assert set(gaps) <= {1000 // 7, 1000 // 7 + 1}


def test_more_timesteps_than_there_are_is_refused():
    with pytest.raises(
        ConfigError, match=r"^pruning\.timesteps: expected at most the model's 6, got 7; lower it"
    ):
        Taylor(0.5, 7, 1, None).prune(ddpm().untrained(0), ddpm(), NoisyLoss(n_timesteps=6))


def test_more_timesteps_than_the_model_has_are_refused_before_there_is_a_loss():
    model = DDPM(ddpm().unet, {"num_train_timesteps": 6}, None, None)
    with pytest.raises(ConfigError, match=r"^pruning\.timesteps: .*model's 6, got 7; lower it"):
        Taylor(0.5, 7, 1, None).check(model.untrained(0), model)
    Taylor(0.5, 6, 1, None).check(model.untrained(0), model)


def test_a_diverged_model_is_refused():
    dense = ddpm().untrained(0)
    dense.conv_out.bias.data.fill_(torch.inf)
    with pytest.raises(ConfigError, match=r"^pruning: expected a finite .*got inf; .*_rate"):
        Taylor(0.5, 2, 1, None).prune(dense, ddpm(), NoisyLoss())


def test_vanishing_gradients_are_no_obstacle():
    class FlatLoss(NoisyLoss):
        def value(self, denoiser, timestep, examples):
            return 0 * sum(parameter.sum() for parameter in denoiser.parameters())

    small, report = Taylor(0.5, 2, 1, None).prune(ddpm().untrained(0), ddpm(), FlatLoss())
    assert report.parameters_after < report.parameters_before
    assert all(p.isfinite().all() for p in small.parameters())


@pytest.mark.parametrize("value", [0, -3])
@pytest.mark.parametrize("key", ["timesteps", "examples"])
def test_nothing_to_look_at_is_refused(key, value):
    arguments = {"timesteps": 10, "examples": 10, key: value}
    with pytest.raises(ConfigError, match=rf"^pruning\.{key}: expected 1 or more.* got {value}; "):
        Taylor(ratio=0.5, **arguments, recovery=None)
