import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from small_unets import ddpm, no_loss
from torch import nn

from crediting import lora
from crediting.errors import ConfigError
from crediting.pruning import LoraRanks
from crediting.pruning.lora_ranks import pairs_to_keep

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


class TwoLayers(nn.Module):
    """2 -> 3 -> 2, so small that scores can be worked out by hand."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.second = nn.Linear(3, 2)

    def forward(self, sample):
        return self.second(self.first(sample))


class StandIn:
    """All that the method needs of a model: how to call its denoiser."""

    def __init__(self, **inputs):
        self.inputs = inputs

    def example_inputs(self, denoiser):
        device = next(denoiser.parameters()).device
        return {name: tensor.to(device) for name, tensor in self.inputs.items()}


TWO = StandIn(sample=torch.ones(1, 2))


def adapted(first, second):
    """Return two layers with adapters of given A, rows, and B, columns."""
    net = TwoLayers()
    lora.attach(net, {"first": len(first[0]), "second": len(second[0])}, 0.5, 0.0, seed=0)
    for (down, up), (rows, columns) in zip(
        lora.factors(net).values(), (first, second), strict=True
    ):
        down.data.copy_(torch.tensor(rows))
        up.data.copy_(torch.tensor(columns).T)
    return net


def hand_made():
    """Energies 3, 1, 2 (mean 2) and 40, 10, 100, 10 (mean 40)."""
    return adapted(
        (
            [[1.0, 2.0], [1.0, 0.0], [0.0, 0.0]],
            [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 2.0, 0.0]],
        ),
        (
            [[8.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 10.0], [4.0, 0.0, 0.0]],
            [[4.0, 0.0], [4.0, 0.0], [6.0, 8.0], [0.0, 2.0]],
        ),
    )


def unet(ranks=4, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        denoiser = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=12,
            attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
        names = lora.target_names(denoiser, ATTENTION)
        lora.attach(denoiser, dict.fromkeys(names, ranks), 1.0, 0.0, seed)
        for _, up in lora.factors(denoiser).values():
            up.data.normal_()
    return denoiser


def conditional():
    return StandIn(
        sample=torch.zeros(1, 4, 8, 8),
        timestep=torch.zeros(1, dtype=torch.long),
        encoder_hidden_states=torch.zeros(1, 5, 12),
    )


def prune(net, ratio, model=TWO):
    return LoraRanks(ratio, None).prune(net, model, no_loss)


def rows(net):
    return {name: down.tolist() for name, (down, _) in lora.factors(net).items()}


# ---------------------------------------------------------------------- which pairs go


@pytest.mark.parametrize(
    ("ratio", "first", "second"),
    [
        # scores 1.5, 0.5, 1 and 1, 0.25, 2.5, 0.25
        (0.15, [0, 1, 2], [0, 2, 3]),  # the first of equals goes
        (0.29, [0, 1, 2], [0, 2]),
        (0.43, [0, 2], [0, 2]),
        (0.58, [0], [0, 2]),  # equals of the earlier module go
        (0.72, [0], [2]),
        (0.86, None, [2]),
    ],
)
def test_the_smallest_pairs_of_all_modules_go(ratio, first, second):
    net = hand_made()
    before = lora.factors(net)
    small, _ = prune(net, ratio)
    after = lora.factors(small)
    expected = {"first": first, "second": second}
    assert set(after) == {name for name, index in expected.items() if index}
    for name, (down, up) in after.items():
        assert torch.equal(down, before[name][0][expected[name]])
        assert torch.equal(up, before[name][1][:, expected[name]])


def test_scores_are_relative_to_their_module():
    # both modules lose their smaller pair although all of the second are larger
    net = adapted(
        ([[1.0, 0.0], [3.0, 0.0]], [[0.0] * 3] * 2),
        ([[30.0, 0.0, 0.0], [10.0, 0.0, 0.0]], [[0.0] * 2] * 2),
    )
    small, _ = prune(net, 0.5)
    assert rows(small) == {"first": [[3.0, 0.0]], "second": [[30.0, 0.0, 0.0]]}


def test_adapters_before_any_training_have_scores():
    denoiser = unet()
    for _, up in lora.factors(denoiser).values():
        up.data.zero_()
    small, _ = prune(denoiser, 0.5, conditional())
    for name, (down, _) in lora.factors(denoiser).items():
        energy = down.square().sum(1)
        stay = lora.factors(small)[name][0].square().sum(1)
        assert stay.min() >= energy.median()


def test_an_adapter_of_zeros_goes_first():
    nothing = ([[0.0, 0.0]] * 2, [[0.0] * 3] * 2)
    net = adapted(nothing, ([[1.0, 0.0, 0.0], [9.0, 0.0, 0.0]], [[0.0] * 2] * 2))
    small, _ = prune(net, 0.5)
    assert rows(small) == {"second": [[1.0, 0.0, 0.0], [9.0, 0.0, 0.0]]}


# ---------------------------------------------------------------------- how many go


@pytest.mark.parametrize(
    ("ratio", "total", "removed"),
    [(0.5, 7, 3), (0.29, 100, 29), (0.999, 100, 99), (0.1, 30, 3), (1 / 3, 3, 1), (0.2, 9, 1)],
)
def test_exactly_the_share_asked_for_goes(ratio, total, removed):
    # 0.29 * 100 is 28.999999999999996
    stream = torch.Generator().manual_seed(0)
    everything = torch.randperm(total, generator=stream).double()
    scores = {"a": everything[: total // 3], "b": everything[total // 3 :]}
    kept = pairs_to_keep(scores, ratio)
    assert list(kept) == ["a", "b"]
    assert sum(len(index) for index in kept.values()) == total - removed
    least = min(scores[name][index].min() for name, index in kept.items() if len(index))
    assert sum((own < least).sum() for own in scores.values()) == removed


def test_equal_scores_go_in_order():
    kept = pairs_to_keep({"a": torch.ones(3), "b": torch.ones(3)}, 0.7)
    assert {name: index.tolist() for name, index in kept.items()} == {"a": [], "b": [1, 2]}


# ---------------------------------------------------------------------- the result works


def test_the_output_is_that_of_the_full_adapters_without_the_dropped_pairs():
    denoiser = unet().eval()
    small, _ = prune(denoiser, 0.6, conditional())
    zeroed = copy.deepcopy(denoiser)
    after = lora.factors(small)
    for name, (down, up) in lora.factors(zeroed).items():
        stay = after[name][0] if name in after else torch.empty(0, down.shape[1])
        dropped = ~(down[:, None] == stay[None]).all(-1).any(1)
        assert dropped.sum() == len(down) - len(stay)
        up.data[:, dropped] = 0
    stream = torch.Generator().manual_seed(0)
    inputs = {
        "sample": torch.randn(2, 4, 8, 8, generator=stream),
        "timestep": torch.tensor([3, 700]),
        "encoder_hidden_states": torch.randn(2, 5, 12, generator=stream),
    }
    with torch.no_grad():
        full, expected, got = (net(**inputs).sample for net in (denoiser, zeroed, small))
    assert torch.allclose(got, expected, atol=1e-5)
    assert not torch.allclose(full, expected, atol=1e-3)


def test_a_module_without_pairs_does_what_it_did_before_the_adapter():
    net = hand_made()
    small, _ = prune(net, 0.86)
    assert lora.ranks(small) == {"second": 1}
    sample = torch.tensor([[0.3, -2.0]])
    assert torch.equal(small.first(sample), net.first.get_base_layer()(sample))


def test_only_pairs_are_counted():
    net = hand_made()
    small, report = prune(net, 0.58)
    # 3 pairs of 2 + 3 and 4 of 3 + 2 numbers; 1 and 2 remain
    assert (report.parameters_before, report.parameters_after) == (7 * 5, 3 * 5)
    # each number of an adapter is used once, as are the 12 weights
    assert (report.macs_before, report.macs_after) == (12 + 35, 12 + 15)
    assert {n for n, p in small.named_parameters() if p.requires_grad} == {
        f"{name}.lora_{side}.default.weight" for name in ("first", "second") for side in "AB"
    }


@pytest.mark.parametrize("training", [True, False])
def test_the_input_is_left_untouched(training):
    net = hand_made().train(training)
    weights = copy.deepcopy(net.state_dict())
    small, _ = prune(net, 0.58)
    assert lora.ranks(net) == {"first": 3, "second": 4}
    assert all(torch.equal(weights[name], t) for name, t in net.state_dict().items())
    assert small.training == net.training == training
    assert lora.scale(small) == 0.5


def test_the_frozen_weights_are_held_once():
    net = hand_made()
    small, _ = prune(net, 0.58)
    for name in ("first", "second"):
        mine, theirs = (m.get_submodule(name).get_base_layer().weight for m in (net, small))
        assert mine.data_ptr() == theirs.data_ptr()


def test_the_pruned_denoiser_learns_and_can_be_pruned_again():
    denoiser = unet()
    small, report = prune(denoiser, 0.5, conditional())
    small(**conditional().inputs).sample.square().mean().backward()
    assert all(p.grad is not None for p in small.parameters() if p.requires_grad)
    again, second = prune(small, 0.5, conditional())
    assert second.parameters_before == report.parameters_after
    pairs = sum(lora.ranks(small).values())
    assert sum(lora.ranks(again).values()) == pairs - pairs // 2


# ---------------------------------------------------------------------- refusals


def test_a_model_without_adapters_is_refused():
    with pytest.raises(
        ConfigError, match=r"^pruning: lora_ranks expects .*got one without; .*pruning=magnitude"
    ):
        prune(ddpm().untrained(0), 0.5, ddpm())


@pytest.mark.parametrize(
    ("make", "ratio", "reason"),
    [
        (lambda: ddpm().untrained(0), 0.5, r"^pruning: lora_ranks expects "),
        (hand_made, 0.1, r"^pruning\.ratio: 0\.1 of 7 rank pairs removes none; choose 0\.1429"),
    ],
)
def test_a_check_refuses_in_the_same_words_as_pruning(make, ratio, reason):
    with pytest.raises(ConfigError, match=reason) as beforehand:
        LoraRanks(ratio, None).check(make(), TWO)
    with pytest.raises(ConfigError) as used:
        prune(make(), ratio)
    assert str(beforehand.value) == str(used.value)


def test_a_check_leaves_what_can_be_pruned_as_it_is():
    net = hand_made()
    weights = copy.deepcopy(net.state_dict())
    LoraRanks(0.2, None).check(net, TWO)
    assert lora.ranks(net) == {"first": 3, "second": 4}
    torch.testing.assert_close(net.state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize(("total", "least"), [(7, 0.1429), (3, 0.3334), (20, 0.05)])
def test_a_ratio_that_removes_nothing_is_refused_and_the_least_is_named(total, least):
    scores = {"a": torch.ones(total)}
    with pytest.raises(
        ConfigError,
        match=rf"^pruning\.ratio: 0\.01 of {total} rank pairs removes none; choose {least} or more",
    ):
        pairs_to_keep(scores, 0.01)
    assert len(pairs_to_keep(scores, least)["a"]) == total - 1


def test_many_equal_scores_go_in_order():
    kept = pairs_to_keep({"a": torch.ones(900), "b": torch.ones(600)}, 0.7)
    assert not len(kept["a"])
    assert kept["b"].tolist() == list(range(150, 600))
