"""What holds for every method that removes channels."""

import copy
import inspect
import math
import pickle

import pytest
import torch
import torch_pruning as tp
from small_unets import NoisyLoss, ddpm, level_widths

from crediting.errors import ConfigError
from crediting.models import DDPM
from crediting.pruning import DiffPruning, LoraRanks, Magnitude, RandomChannels, Reinit, Taylor

CHANNELS = {
    Magnitude: {},
    Taylor: {"timesteps": 2, "examples": 2},
    DiffPruning: {"threshold": 0.05, "examples": 2},
    RandomChannels: {"seed": 0},
    Reinit: {"seed": 0},
}
EVERY = [*CHANNELS, LoraRanks]


def method(kind, ratio):
    return kind(ratio=ratio, **CHANNELS.get(kind, {}), recovery=None)


def test_all_methods_leave_the_same_shapes():
    model = ddpm()
    dense = model.untrained(0)
    results = [method(kind, 0.3).prune(dense, model, NoisyLoss()) for kind in CHANNELS]
    shapes = [{name: t.shape for name, t in small.state_dict().items()} for small, _ in results]
    assert all(shape == shapes[0] for shape in shapes)
    assert len({report for _, report in results}) == 1
    assert level_widths(results[0][0]) == [12, 24]


@pytest.mark.parametrize("kind", CHANNELS)
def test_the_input_is_left_untouched(kind):
    model = ddpm()
    dense = model.untrained(0)
    dense.conv_in.requires_grad_(False)
    weights = copy.deepcopy(dense.state_dict())
    small, _ = method(kind, 0.5).prune(dense, model, NoisyLoss())
    assert all(torch.equal(weights[name], t) for name, t in dense.state_dict().items())
    frozen = {"conv_in.weight", "conv_in.bias"}
    for denoiser in (dense, small):
        assert {n for n, p in denoiser.named_parameters() if not p.requires_grad} == frozen
        assert all(p.grad is None for p in denoiser.parameters())


@pytest.mark.parametrize("kind", CHANNELS)
def test_a_model_whose_channels_must_stay_refuses_by_itself(kind):
    class Adapted(DDPM):
        def prunable(self, denoiser):
            raise ConfigError("pruning: only the ranks of this model can go")

    model = Adapted(ddpm().unet, {}, None, None)
    with pytest.raises(ConfigError, match="only the ranks"):
        method(kind, 0.5).check(model.untrained(0), model)
    with pytest.raises(ConfigError, match="only the ranks"):
        method(kind, 0.5).prune(model.untrained(0), model, NoisyLoss())


@pytest.mark.parametrize(
    ("groups", "ratio"), [(8, 0.2187), (8, 0.05), (16, 0.9)], ids=["just", "far", "whatever"]
)
@pytest.mark.parametrize("kind", CHANNELS)
def test_a_check_refuses_in_the_same_words_as_pruning(kind, groups, ratio):
    model = ddpm(block_out_channels=[16, 32 if groups == 8 else 16], norm_num_groups=groups)
    with pytest.raises(ConfigError, match=r"^pruning\.ratio: .*removes no channel") as beforehand:
        method(kind, ratio).check(model.untrained(0), model)
    with pytest.raises(ConfigError) as used:
        method(kind, ratio).prune(model.untrained(0), model, NoisyLoss())
    assert str(beforehand.value) == str(used.value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", CHANNELS)
def test_a_check_leaves_what_can_be_pruned_as_it_is(kind, training):
    model = ddpm(norm_num_groups=8)
    dense = model.untrained(0).train(training)
    dense.conv_in.requires_grad_(False)
    weights, stream = copy.deepcopy(dense.state_dict()), torch.random.get_rng_state()
    with torch.no_grad():
        method(kind, 0.2188).check(dense, model)
    torch.testing.assert_close(dense.state_dict(), weights, rtol=0, atol=0)
    frozen = {n for n, p in dense.named_parameters() if not p.requires_grad}
    assert frozen == {"conv_in.weight", "conv_in.bias"}
    assert all(p.grad is None for p in dense.parameters())
    assert dense.training == training
    assert torch.equal(torch.random.get_rng_state(), stream)


def test_a_ratio_without_effect_is_refused_before_the_loss_is_computed():
    model, loss = ddpm(norm_num_groups=8), NoisyLoss()
    with pytest.raises(ConfigError, match="removes no channel"):
        method(Taylor, 0.2).prune(model.untrained(0), model, loss)
    assert loss.calls == []


@pytest.mark.parametrize("ratio", [-0.1, 1, 1.5, math.nan, "half"])
@pytest.mark.parametrize("kind", EVERY)
def test_a_ratio_out_of_range_is_refused(kind, ratio):
    units = "rank pairs" if kind is LoraRanks else "channels"
    message = rf"^pruning\.ratio: expected the share of the {units} removed, .* got {ratio!r}; "
    with pytest.raises(ConfigError, match=message):
        method(kind, ratio)


@pytest.mark.parametrize("kind", EVERY)
def test_ratio_zero_is_sent_to_no_pruning(kind):
    with pytest.raises(ConfigError, match=r"^pruning\.ratio: .* got 0, .*choose pruning=none"):
        method(kind, 0.0)


@pytest.mark.parametrize("kind", EVERY)
def test_methods_can_be_sent_to_workers(kind):
    sent = pickle.loads(pickle.dumps(method(kind, 0.5)))
    assert type(sent) is kind
    assert sent.recovery is None


SCALED_BY_RESNETS = {"downsample_type": "resnet", "upsample_type": "resnet"}
OTHER_BLOCKS = {
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
}


@pytest.mark.parametrize("changes", [SCALED_BY_RESNETS, OTHER_BLOCKS])
def test_blocks_that_scale_by_residual_layers_run_when_pruned(changes):
    model = ddpm(**changes)
    method(Magnitude, 0.5).check(model.untrained(0), model)
    small, report = method(Magnitude, 0.5).prune(model.untrained(0), model, None)
    assert level_widths(small) == [8, 16]
    assert report.realised_ratio > 0.5
    points = torch.zeros(2, *model.latent_shape())
    assert small(points, torch.tensor([1, 2])).sample.shape == points.shape


def test_what_would_not_run_when_pruned_is_refused_beforehand():
    blocks = {"down_block_types": ["SkipDownBlock2D"] * 2, "up_block_types": ["SkipUpBlock2D"] * 2}
    model = ddpm(**blocks)
    denoiser = model.untrained(0)
    with pytest.raises(ConfigError, match=r"^pruning: the channels of this UNet2DModel cannot"):
        method(Magnitude, 0.5).check(denoiser, model)


def test_the_library_keeps_nothing_of_a_model_that_was_pruned():
    """Its pruner's defaults are dictionaries, which all pruners without their own share."""
    method(Magnitude, 0.5).prune(ddpm().untrained(0), ddpm(), NoisyLoss())
    parameters = inspect.signature(tp.pruner.BasePruner.__init__).parameters
    shared = [p.default for p in parameters.values() if isinstance(p.default, dict)]
    assert shared
    assert not any(shared)
