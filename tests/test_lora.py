import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from crediting import lora
from crediting.randomness import Stream

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def conditional():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=12,
            attention_head_dim=2,
            norm_num_groups=4,
        )


def unconditional():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return UNet2DModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
        )


def attached(make=conditional, rank=4, scale=2.0, dropout=0.0, filled=True):
    unet = make().requires_grad_(False)
    ranks = dict.fromkeys(lora.target_names(unet, TARGETS), rank)
    lora.attach(unet, ranks, scale, dropout, seed=7)
    if filled:
        for index, (_, up) in enumerate(lora.factors(unet).values()):
            up.data = 0.1 * Stream("up", index).normal(torch.arange(len(up)), up.shape[1:])
    return unet


def output(unet):
    ids = torch.arange(2)
    points = Stream("points").normal(ids, (4, 8, 8))
    more = [Stream("prompts").normal(ids, (5, 12))] if "Condition" in type(unet).__name__ else []
    with torch.no_grad():
        return unet(points, torch.tensor([3, 700]), *more).sample


def test_targets_are_linear_layers_by_whole_parts_of_their_names():
    unet = conditional()
    names = lora.target_names(unet, TARGETS)
    assert len(names) == len(set(names)) == 32
    assert all(isinstance(unet.get_submodule(name), torch.nn.Linear) for name in names)
    assert len(lora.target_names(unet, ["attn2.to_k"])) == 4
    assert lora.target_names(unet, ["q", "conv1", "o_q"]) == []


@pytest.mark.parametrize("make", [conditional, unconditional])
def test_fresh_adapters_do_nothing(make):
    base = make().requires_grad_(False)
    unet = attached(make, filled=False)
    assert torch.equal(output(unet), output(base))
    assert lora.ranks(base) == {}
    assert set(lora.ranks(unet).values()) == {4}


def test_first_factors_have_the_stated_spread_and_depend_on_seed_and_name():
    names = lora.target_names(conditional(), TARGETS)
    first = {}
    for seed in (1, 1, 2):
        unet = conditional()
        lora.attach(unet, dict.fromkeys(reversed(names), 64), 1.0, 0.0, seed)
        first.setdefault(seed, []).append(lora.factors(unet))
    values = torch.cat([down.flatten() for down, _ in first[1][0].values()])
    assert values.std().item() == pytest.approx(1 / 64, rel=0.03)
    assert abs(values.mean().item()) < 1e-3
    for name in names:
        down, up = first[1][0][name]
        assert torch.equal(down, first[1][1][name][0])
        assert not torch.equal(down, first[2][0][name][0])
        assert not up.any()
    assert not torch.equal(first[1][0][names[0]][0], first[1][0][names[3]][0])


def test_attaching_leaves_the_global_stream_alone():
    unet = conditional()
    before = torch.random.get_rng_state()
    lora.attach(unet, dict.fromkeys(lora.target_names(unet, TARGETS), 4), 1.0, 0.1, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_only_factors_require_gradients_and_are_in_single_precision():
    unet = conditional().half()
    lora.attach(unet, dict.fromkeys(lora.target_names(unet, TARGETS), 4), 1.0, 0.0, 0)
    factors = [factor for pair in lora.factors(unet).values() for factor in pair]
    trainable = [p for p in unet.parameters() if p.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in factors}
    assert {p.dtype for p in factors} == {torch.float32}


def test_every_module_gets_the_rank_that_is_said_for_it():
    unet = conditional()
    names = lora.target_names(unet, TARGETS)
    wanted = {name: 1 + index % 5 for index, name in enumerate(names[:-3])}
    lora.attach(unet, wanted, 0.5, 0.0, 0)
    assert lora.ranks(unet) == wanted
    assert lora.scale(unet) == 0.5
    for name, (down, up) in lora.factors(unet).items():
        assert down.shape[0] == up.shape[1] == wanted[name]


def layers():
    return torch.nn.ModuleDict(
        {"to_q": torch.nn.Linear(3, 3), "a": torch.nn.ModuleDict({"to_q": torch.nn.Linear(3, 3)})}
    )


@pytest.mark.parametrize("ranks", [{"to_q": 1, "a.to_q": 2}, {"to_q": 1}, {"a.to_q": 2}])
def test_names_that_end_alike_are_not_mixed_up(ranks):
    unet = layers()
    lora.attach(unet, ranks, 1.0, 0.0, 0)
    assert lora.ranks(unet) == ranks


@pytest.mark.parametrize("name", ["no.such.layer", "conv_in", ""])
def test_what_is_no_linear_layer_is_refused(name):
    with pytest.raises(KeyError, match=f"no linear modules: {name}"):
        lora.attach(conditional(), {name: 4}, 1.0, 0.0, 0)


def test_an_adapter_adds_the_scaled_product():
    layer = torch.nn.Sequential(torch.nn.Linear(5, 7))
    lora.attach(layer, {"0": 3}, 2.0, 0.0, 0)
    ((down, up),) = lora.factors(layer).values()
    up.data = Stream("up").normal(torch.arange(7), (3,))
    inputs = Stream("inputs").normal(torch.arange(4), (5,))
    base = layer[0].get_base_layer()
    expected = inputs @ (base.weight + 2.0 * up @ down).T + base.bias
    torch.testing.assert_close(layer(inputs), expected)


@pytest.mark.parametrize("make", [conditional, unconditional])
def test_merging_keeps_the_function_and_restores_a_plain_unet(make):
    unet = attached(make)
    before = output(unet)
    lora.merge(unet)
    plain = make()
    assert list(unet.state_dict()) == list(plain.state_dict())
    assert lora.ranks(unet) == {}
    assert (output(plain) - before).abs().max() > 1e-3
    torch.testing.assert_close(output(unet), before, rtol=0, atol=1e-5)
    plain.load_state_dict(unet.state_dict())


@pytest.mark.parametrize("trainable", [True, False])
def test_merging_restores_what_required_gradients(trainable):
    unet = conditional().requires_grad_(trainable)
    unet.conv_in.requires_grad_(not trainable)
    expected = {name: p.requires_grad for name, p in unet.named_parameters()}
    lora.attach(unet, dict.fromkeys(lora.target_names(unet, TARGETS), 2), 1.0, 0.0, 0)
    lora.merge(unet)
    assert {name: p.requires_grad for name, p in unet.named_parameters()} == expected


def test_after_merging_adapters_can_be_attached_again():
    unet = attached()
    lora.merge(unet)
    before = output(unet)
    lora.attach(unet, dict.fromkeys(lora.target_names(unet, TARGETS), 2), 1.0, 0.0, 0)
    assert torch.equal(output(unet), before)
    with pytest.raises(AssertionError, match="adapters already"):
        lora.attach(unet, {}, 1.0, 0.0, 0)


def test_keeping_some_pairs_equals_zeroing_the_others():
    unet, zeroed = attached(), attached()
    names = list(lora.ranks(unet))
    kept = {name: torch.tensor([0, 2]) for name in names}
    kept[names[1]] = torch.tensor([], dtype=torch.long)
    kept[names[2]] = torch.arange(4)
    del kept[names[3]]
    for name, (_, up) in lora.factors(zeroed).items():
        gone = set(range(4)) - set(kept.get(name, torch.tensor([])).tolist())
        up.data[:, sorted(gone)] = 0
    full = output(unet)
    lora.keep(unet, kept)
    torch.testing.assert_close(output(unet), output(zeroed), rtol=0, atol=1e-6)
    assert (output(unet) - full).abs().max() > 1e-3
    expected = {name: len(index) for name, index in kept.items() if len(index)}
    assert lora.ranks(unet) == expected
    assert lora.scale(unet) == 2.0
    assert {n for n, p in unet.named_parameters() if p.requires_grad} == {
        f"{name}.lora_{factor}.default.weight" for name in expected for factor in "AB"
    }


def test_dropout_acts_in_training_only_and_survives_thinning():
    unet = attached(dropout=0.5)
    lora.keep(unet, {name: torch.arange(2) for name in lora.ranks(unet)})
    for mode, equal in ((True, False), (False, True)):
        unet.train(mode)
        assert torch.equal(output(unet), output(unet)) is equal
    resting = attached(dropout=0.5).eval()
    lora.keep(resting, {name: torch.arange(2) for name in lora.ranks(resting)})
    assert torch.equal(output(resting), output(resting))


def test_a_clone_has_adapters_of_its_own_on_shared_memory():
    unet = attached()
    before = output(unet)
    clone = lora.clone(unet)
    assert torch.equal(output(clone), before)
    for (name, one), other in zip(unet.named_parameters(), clone.parameters(), strict=True):
        assert one is not other
        assert one.requires_grad == other.requires_grad
        assert (one.data_ptr() == other.data_ptr()) != ("lora_" in name), name
    for down, _ in lora.factors(clone).values():
        down.data.neg_()
    lora.merge(clone)
    assert not torch.equal(output(clone), before)
    assert torch.equal(output(unet), before)


def test_merging_a_copy_after_thinning_gives_the_same_images():
    unet = attached()
    lora.keep(unet, {name: torch.tensor([1, 3]) for name in lora.ranks(unet)})
    before = output(unet)
    lora.merge(unet)
    torch.testing.assert_close(output(unet), before, rtol=0, atol=1e-5)
