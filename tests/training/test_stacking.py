import copy
import shutil
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler, UNet2DConditionModel, UNet2DModel
from repeating_tape import RepeatingTape
from tiny_unet import unet
from torch import nn
from torch._dynamo.utils import counters
from torch.nn import functional as F

from crediting import lora
from crediting.errors import ConfigError
from crediting.randomness import Stream
from crediting.training import optimizers
from crediting.training.compiling import as_it_is, compiler
from crediting.training.examples import Examples
from crediting.training.recipe import Recipe, Training
from crediting.training.stacking import _batchable_attention, _template, can_stack, train_stacked
from crediting.training.trainer import Trainer, make_accelerator, seeded_dropout

RECIPE = Recipe(
    steps=5,
    batch_size=6,
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=0.1,
    schedule="cosine",
    warmup=0.2,
    gradient_clip=0.5,
    ema_decay=0.9,
    timesteps="antithetic",
    horizontal_flip=True,
)
POINTS = Stream("points").normal(torch.arange(30), (1, 8, 8))
COALITIONS = (torch.arange(12), torch.arange(9, 30), torch.arange(3, 25, 2))


def attentive(dropout=0.0):
    return unet(attention=True, size=8, dropout=dropout)


def conditional_with_adapters():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        denoiser = UNet2DConditionModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 8),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            mid_block_type=None,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=4,
            attention_head_dim=2,
            norm_num_groups=4,
        )
        names = lora.target_names(denoiser, ["to_q", "to_v"])
        lora.attach(denoiser.requires_grad_(False), dict.fromkeys(names, 2), 1.0, 0.0, seed=0)
    return denoiser


def make_trainer(precision="no", captions=False, compiled=as_it_is):
    conditions = {}
    if captions:
        numbers = Stream("captions").normal(torch.arange(3), (5, 4))
        conditions = {"captions": numbers, "caption_of": torch.arange(30) % 3}
    examples = Examples(POINTS, in_pixels=True, **conditions)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = make_accelerator("cpu", precision)
    return Trainer(examples, DDPMScheduler(), accelerator, compiled=compiled)


def trainings(denoiser, recipe=RECIPE, **options):
    """Return the trainings of three coalitions; frozen parameters are shared, as in a study."""
    frozen = {id(p): p for p in denoiser.parameters() if not p.requires_grad}
    return [
        Training(copy.deepcopy(denoiser, dict(frozen)), recipe, ids, **options)
        for ids in COALITIONS
    ]


def alone(trainer, training):
    return trainer.train(training, Stream("stack"))


def assert_as_alone(trainer, make, recipe=RECIPE, tolerance=1e-4, **options):
    given = make()
    stacked = train_stacked(trainer, trainings(given, recipe, **options), Stream("stack"))
    assert len(stacked) == 3
    moved = 0.0
    for averages, training in zip(stacked, trainings(given, recipe, **options), strict=True):
        expected = alone(trainer, training)
        assert averages.keys() == expected.keys()
        start = given.state_dict()
        for name, weights in expected.items():
            torch.testing.assert_close(averages[name], weights, rtol=0, atol=tolerance)
            moved = max(moved, (weights - start[name]).abs().max().item())
    assert moved > 50 * tolerance


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("timesteps", ["antithetic", "uniform"])
def test_stacked_trainings_are_those_done_alone(optimizer, timesteps):
    recipe = replace(RECIPE, optimizer=optimizer, timesteps=timesteps)
    assert_as_alone(make_trainer(), attentive, recipe)


def test_what_a_stack_normalises_is_in_order_in_memory(monkeypatch):
    """On a CPU, torch before 2.14 normalises nothing else under vmap; attention leaves it so."""
    normalise, in_order = F.group_norm, []

    def watched(points, *settings):
        in_order.append(points.is_contiguous())
        return normalise(points, *settings)

    monkeypatch.setattr(F, "group_norm", watched)
    three = trainings(attentive())
    train_stacked(make_trainer(), three, Stream("stack"))
    assert in_order
    assert all(in_order)
    assert not any(module._forward_pre_hooks for module in three[0].denoiser.modules())


def test_dropout_does_not_depend_on_who_else_is_in_the_stack():
    three = trainings(attentive(dropout=0.3))
    found = train_stacked(make_trainer(), three, Stream("stack"))
    three[2].denoiser.eval()  # in whatever mode it was left
    again = train_stacked(make_trainer(), [three[2], three[0]], Stream("stack"))
    without = train_stacked(make_trainer(), trainings(attentive())[::2], Stream("stack"))
    for name, weights in found[0].items():
        torch.testing.assert_close(again[1][name], weights, rtol=0, atol=1e-4)
    apart = [(without[0][name] - weights).abs().max() for name, weights in found[0].items()]
    assert max(apart) > 5e-3


def test_adapters_are_stacked_on_one_frozen_network():
    trainer = make_trainer(captions=True)
    recipe = replace(RECIPE, horizontal_flip=False, learning_rate=3e-2)
    options = {"rate_factors": {"lora_B": 4.0}}
    assert_as_alone(trainer, conditional_with_adapters, recipe, **options)
    given = trainings(conditional_with_adapters(), recipe, **options)
    averages = train_stacked(trainer, given, Stream("stack"))
    assert all("lora_" in name for name in averages[0])


def test_what_is_frozen_is_not_in_memory_twice():
    denoiser = conditional_with_adapters()
    template = _template(denoiser)
    assert all(a is b for a, b in zip(denoiser.parameters(), template.parameters(), strict=True))


def test_ascents_can_be_stacked():
    # Adam takes whole steps along gradients near zero, whose signs rounding decides: small ones
    assert_as_alone(make_trainer(), attentive, replace(RECIPE, learning_rate=2e-3), ascend=True)


@pytest.mark.parametrize("ascend", [False, True])
def test_gradients_of_a_stack_are_as_large_as_alone(ascend, monkeypatch):
    """Plain descent shows it, where Adam would divide it out."""
    monkeypatch.setattr(optimizers, "find_optimizer", lambda recipe: torch.optim.SGD)
    recipe = replace(RECIPE, gradient_clip=0.5, learning_rate=3e-2)
    free = replace(recipe, gradient_clip=1e3)
    for how in (recipe, free):
        assert_as_alone(make_trainer(), attentive, how, ascend=ascend)


def test_a_parameter_may_be_a_single_number_or_of_no_use():
    assert_as_alone(make_trainer(), Gained)


def test_the_denoisers_keep_their_weights():
    given = trainings(attentive())
    train_stacked(make_trainer(), given, Stream("stack"))
    for training in given:
        for name, weights in attentive().state_dict().items():
            assert torch.equal(training.denoiser.state_dict()[name], weights)


def test_bf16_stacks_as_it_trains_alone_within_its_rounding():
    exact = train_stacked(make_trainer(), trainings(attentive()), Stream("stack"))
    trainer = make_trainer("bf16")
    stacked = train_stacked(trainer, trainings(attentive()), Stream("stack"))
    singles = [alone(trainer, training) for training in trainings(attentive())]
    for here, single, true in zip(stacked, singles, exact, strict=True):
        apart, rounding = (
            torch.cat([(one[k] - true[k]).flatten() for k in true]).norm() for one in (here, single)
        )
        assert 0 < apart < 2 * rounding


def test_convolutions_of_stacks_take_half_precision():
    trainer = make_trainer("bf16")
    half, full = (
        train_stacked(trainer, trainings(kind()), Stream("stack"))
        for kind in (HalfBetween, TwoLayers)
    )
    torch.testing.assert_close(half, full, rtol=0, atol=1e-3)
    assert not all(torch.equal(half[0][name], weights) for name, weights in full[0].items())
    denoiser = HalfBetween()
    train_stacked(trainer, trainings(denoiser), Stream("stack"))
    assert not any(layer._forward_pre_hooks for layer in denoiser.modules())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"examples": torch.arange(2)}, False),
        ({"recipe": replace(RECIPE, steps=4)}, False),
        ({"ascend": True}, False),
        ({"rate_factors": {"conv": 2.0}}, False),
        ({"denoiser": torch.nn.Linear(2, 2)}, False),
    ],
)
def test_trainings_of_different_kinds_are_not_stacked(changes, expected):
    first, second, _ = trainings(attentive())
    assert can_stack(make_trainer(), [first, replace(second, **changes)]) is expected


def test_eight_bit_optimizers_and_activation_checkpoints_are_not_stacked():
    eight_bit = trainings(attentive(), replace(RECIPE, optimizer="adamw8bit"))
    assert not can_stack(make_trainer(), eight_bit)
    saving = Trainer(
        make_trainer().loss.examples, DDPMScheduler(), make_accelerator("cpu", "no"), True
    )
    assert not can_stack(saving, trainings(attentive()))


def test_networks_that_keep_means_of_batches_are_not_stacked():
    with_means, without = (
        torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.BatchNorm2d(1, **settings))
        for settings in ({}, {"track_running_stats": False})
    )
    assert not can_stack(make_trainer(), trainings(with_means))
    assert can_stack(make_trainer(), trainings(without))


def test_in_fp16_nothing_is_stacked_or_recorded():
    """Its loss is scaled for each training by itself, and by numbers that the CPU looks at."""
    half = SimpleNamespace(mixed_precision="fp16")
    trainer = Trainer(make_trainer().loss.examples, DDPMScheduler(), half, make_tape=RepeatingTape)
    assert not can_stack(trainer, trainings(attentive()))
    assert trainer.tape(attentive(), RECIPE) is None


def test_finished_steps_of_a_stack_are_told():
    told = []
    train_stacked(make_trainer(), trainings(TwoLayers()), Stream("stack"), told.append)
    assert told == list(range(RECIPE.steps + 1))


def test_latents_that_nobody_mirrored_are_not_flipped_in_stacks():
    trainer = Trainer(Examples(POINTS), DDPMScheduler(), make_accelerator("cpu", "no"))
    with pytest.raises(ConfigError, match=r"horizontal_flip: .*model\.mirror=true"):
        train_stacked(trainer, trainings(TwoLayers()), Stream("stack"))


# ------------------------------------------------------------------------------ compiled


def graphs(compiled):
    """Return the same compiler without code generation, and a count of what was compiled."""
    torch._dynamo.reset()
    counters.clear()
    return compiled, lambda: counters["stats"]["unique_graphs"]


class TwoLayers(nn.Module):
    """A denoiser with so little to generate that it is soon compiled."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, sample, timestep):
        brightness = timestep.view(-1, 1, 1, 1) / 1000
        return SimpleNamespace(sample=self.last(F.silu(self.first(sample) + brightness)))


class Gained(TwoLayers):
    """One of its parameters is a number without any dimension, and one is of no use."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.useless = nn.Parameter(torch.ones(2))

    def forward(self, sample, timestep):
        return SimpleNamespace(sample=self.gain * super().forward(sample, timestep).sample)


class HalfBetween(TwoLayers):
    """Its second convolution is given half precision, as by autocast on CUDA under vmap."""

    def forward(self, sample, timestep):
        brightness = timestep.view(-1, 1, 1, 1) / 1000
        return SimpleNamespace(sample=self.last(F.silu(self.first(sample) + brightness).bfloat16()))


def small_unet():
    """A real one that is soon compiled: one level, no attention."""
    settings = {"block_out_channels": (8,), "layers_per_block": 1, "norm_num_groups": 4}
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return UNet2DModel(8, 1, 1, add_attention=False, **settings, **blocks)


def eager_graphs(computation):
    return torch.compile(computation, backend="aot_eager", dynamic=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize(("precision", "denoiser"), [("no", TwoLayers), ("bf16", attentive)])
def test_one_compilation_serves_all_coalitions(precision, denoiser):
    compiled, count = graphs(eager_graphs)
    trainer, plain = make_trainer(precision, compiled=compiled), make_trainer(precision)
    for training, same in zip(trainings(denoiser()), trainings(denoiser()), strict=True):
        torch.testing.assert_close(alone(trainer, training), alone(plain, same), rtol=0, atol=1e-4)
    assert count() == 1


@pytest.mark.slow
def test_one_compilation_serves_all_stacks():
    compiled, count = graphs(eager_graphs)
    trainer, plain = make_trainer(compiled=compiled), make_trainer()
    for _ in range(2):
        found = train_stacked(trainer, trainings(small_unet()), Stream("stack"))
        expected = train_stacked(plain, trainings(small_unet()), Stream("stack"))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert count() == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="generated code needs a C++ compiler")
def test_generated_code_trains_as_the_plain_denoiser():
    torch._dynamo.reset()
    recipe = replace(RECIPE, steps=2)
    first, same = trainings(TwoLayers(), recipe)[0], trainings(TwoLayers(), recipe)[0]
    found = alone(make_trainer(compiled=compiler("default")), first)
    torch.testing.assert_close(found, alone(make_trainer(), same), rtol=0, atol=1e-4)


def test_an_unknown_mode_of_compiling_is_refused_by_key():
    assert compiler(None) is as_it_is
    with pytest.raises(ConfigError, match=r"runtime\.compile: expected null or one of default"):
        compiler("fastest")


@pytest.mark.parametrize(("device", "flash"), [("cpu", False), ("cuda", True)])
def test_only_attention_whose_gradients_can_be_stacked_is_used(device, flash):
    """Under vmap torch's efficient attention and cuDNN's keep nothing for their gradients."""
    with _batchable_attention(torch.device(device)):
        enabled = torch.backends.cuda
        assert enabled.math_sdp_enabled()
        assert enabled.flash_sdp_enabled() == flash
        assert not enabled.mem_efficient_sdp_enabled()
        assert not enabled.cudnn_sdp_enabled()


def test_attention_of_stacks_adds_in_one_order_where_all_does():
    attention = torch.backends.cuda
    attention.enable_flash_sdp(False)
    try:
        with _batchable_attention(torch.device("cuda")):
            assert not attention.flash_sdp_enabled()
            assert attention.math_sdp_enabled()
    finally:
        attention.enable_flash_sdp(True)


def test_more_shapes_than_torch_allows_are_compiled(monkeypatch):
    compiled = []

    def counted(module, inputs):
        compiled.append(inputs)
        return module.forward

    def compile_quickly(computation, mode, dynamic):
        return plain_compile(computation, backend=counted, dynamic=dynamic)

    plain_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_quickly)
    doubled = compiler("default")(lambda numbers: 2 * numbers)
    for size in range(2, 13):
        assert torch.equal(doubled(torch.ones(size)), torch.full((size,), 2.0))
    assert len(compiled) == 11


def test_every_step_of_a_stack_drops_out_what_it_would_alone_in_the_first_process(monkeypatch):
    seeds = []

    @contextmanager
    def recorded(device):
        with seeded_dropout(device) as seed:
            yield lambda number: (seeds.append(number), seed(number))

    monkeypatch.setattr("crediting.training.stacking.seeded_dropout", recorded)
    train_stacked(make_trainer(), trainings(attentive(dropout=0.3)), Stream("stack"))
    assert len(set(seeds)) == RECIPE.steps
    stacked, seeds[:] = list(seeds), []
    monkeypatch.setattr("crediting.training.trainer.seeded_dropout", recorded)
    alone(make_trainer(), trainings(attentive(dropout=0.3))[0])
    assert seeds == stacked
