"""What is foretold of memory against counts by hand, by autograd and by the allocator."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import nn

from crediting import lora
from crediting.errors import ConfigError
from crediting.randomness import Stream
from crediting.training import Recipe
from crediting.training.examples import Examples
from crediting.training.footprint import UNFORESEEABLE, Arithmetic, of_sampling, of_training, told
from crediting.training.recipe import Training
from crediting.training.trainer import Trainer, make_accelerator

RECIPE = Recipe(
    steps=1,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    gradient_clip=1.0,
    ema_decay=0.9999,
    timesteps="uniform",
    horizontal_flip=False,
)
PLAIN = Arithmetic("cpu", "fp32", gradient_checkpointing=False)
SAVING = PLAIN._replace(gradient_checkpointing=True)
SHAPE = (3, 16, 16)
POINT = 4 * 3 * 16 * 16


def example(*shape):
    return {"sample": torch.zeros(1, *shape), "timestep": torch.zeros(1, dtype=torch.long)}


def unet(**changes):
    settings = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 8,
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return UNet2DModel(**{**settings, **changes})


class Chain(nn.Module):
    """A denoiser of points with 6 numbers whose every activation can be counted by hand."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 10, bias=False), nn.Sigmoid(), nn.Linear(10, 6, bias=False)
        )

    def forward(self, sample, timestep):
        return SimpleNamespace(sample=self.layers(sample))


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, sample, timestep):
        return SimpleNamespace(sample=self.layers(sample))


# ---------------------------------------------------------------------------------- by hand


def test_a_chain_of_layers_is_counted_by_hand():
    found = of_training(Chain(), example(6), RECIPE, PLAIN)
    parameters = 4 * (6 * 10 + 10 * 6)
    assert found.weights == found.average == found.gradients == parameters
    assert found.moments == 2 * parameters
    hidden, point = 4 * 16 * 10, 4 * 16 * 6
    # the first layer's input is not of its making; the output of the first is in nobody's gradient
    assert found.activations == hidden + point + point + 4  # sigmoid, prediction, target, loss
    assert found.lasting == 4 * parameters


def test_convolutions_are_counted_by_hand():
    found = of_training(Convolutions(), example(3, 5, 5), RECIPE, PLAIN)
    assert found.weights == 4 * (8 * 3 * 9 + 8 + 3 * 8 * 9 + 3)
    assert found.activations == 4 * 16 * 25 * (8 + 3 + 3) + 4


def test_half_precision_keeps_half_of_a_convolution_and_casts_its_weights():
    found, other = (
        of_training(Convolutions(), example(3, 5, 5), RECIPE, PLAIN._replace(precision=precision))
        for precision in ("bf16", "fp16")
    )
    assert found == other
    kept = 2 * 16 * 25 * (3 + 8)  # the inputs of both
    cast = 2 * (8 * 3 * 9 + 3 * 8 * 9)
    full = 4 * 16 * 25 * (3 + 3) + 4  # prediction, target, loss
    assert found.activations == pytest.approx(kept + cast + full, rel=0.01)  # biases, last output
    assert found.weights == of_training(Convolutions(), example(3, 5, 5), RECIPE, PLAIN).weights


@pytest.mark.parametrize(
    ("norm", "groups"), [(nn.GroupNorm(2, 8), 2), (nn.LayerNorm((8, 5, 5)), 1)]
)
def test_normalisation_takes_full_precision_on_a_gpu_only(norm, groups):
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), norm, nn.SiLU())
            self.last = nn.Conv2d(8, 3, 3, padding=1, bias=False)

        def forward(self, sample, timestep):
            return SimpleNamespace(sample=self.last(self.layers(sample)))

    half = PLAIN._replace(precision="bf16")
    cpu, gpu = (
        of_training(Normed(), example(3, 5, 5), RECIPE, half._replace(device=device)).activations
        for device in ("cpu", "cuda")
    )
    hidden = 16 * 25 * 8
    # what goes in and what comes out take 4 bytes each instead of 2; so do means and deviations
    assert gpu - cpu == 2 * 2 * hidden + 2 * 2 * 16 * groups


def test_drawing_keeps_nothing_for_gradients_and_drops_nothing_out():
    denoiser = Convolutions()
    denoiser.layers.insert(1, nn.Dropout(0.5))
    weights = 4 * (8 * 3 * 9 + 8 + 3 * 8 * 9 + 3)
    full, half = (
        of_sampling(denoiser, example(3, 5, 5), 16, PLAIN._replace(precision=precision)) - weights
        for precision in ("fp32", "bf16")
    )
    assert full == 4 * 16 * 25 * (8 + 3)  # what goes into the last layer, and what comes out
    cast = 2 * (8 * 3 * 9 + 3 * 8 * 9)
    assert half == pytest.approx(full / 2 + cast, rel=0.01)  # biases


@pytest.mark.parametrize(("size", "expected"), [(64, 2 * (4096 + 4 * 16)), (63, 8 * 63 * 64)])
def test_an_optimizer_of_8_bits_has_scales_and_spares_small_tensors(size, expected):
    class Wide(Chain):
        def __init__(self):
            super().__init__()
            self.layers = nn.Linear(64, size, bias=False)

    found = of_training(Wide(), example(64), replace(RECIPE, optimizer="adamw8bit"), PLAIN)
    assert found.moments == expected


# ---------------------------------------------------------------------------------- by autograd


def saved_by_autograd(denoiser, batch_size, shape, precision):
    """Return the bytes that a real forward pass keeps for gradients, without the parameters."""
    kept = {}
    own = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    sample = torch.zeros(batch_size, *shape)
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), half:
        result = denoiser(sample, torch.zeros(batch_size, dtype=torch.long)).sample
    outside = own | {sample.untyped_storage().data_ptr()}
    return sum(count for place, (_, count) in kept.items() if place not in outside), result


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch_size", [2, 16])
def test_activations_are_what_autograd_saves(batch_size, precision):
    denoiser = unet()
    saved, result = saved_by_autograd(denoiser, batch_size, SHAPE, precision)
    assert result.requires_grad
    recipe, how = replace(RECIPE, batch_size=batch_size), PLAIN._replace(precision=precision)
    found = of_training(denoiser, example(*SHAPE), recipe, how)
    ends = batch_size * POINT * 2 + 4  # prediction and target are kept by the loss
    assert found.activations == pytest.approx(saved + ends, rel=0.002)


def test_frozen_weights_have_no_gradients_and_no_moments():
    denoiser = unet()
    names = lora.target_names(denoiser, ("to_q", "to_v"))
    whole = of_training(denoiser, example(*SHAPE), RECIPE, PLAIN)
    lora.attach(denoiser, dict.fromkeys(names, 2), 1.0, 0.0, seed=0)
    found = of_training(denoiser, example(*SHAPE), RECIPE, PLAIN)
    adapters = 4 * len(names) * 2 * (64 + 64)
    assert found.gradients == found.average == adapters
    assert found.moments == 2 * adapters
    assert found.weights == whole.weights + adapters
    assert found.activations < whole.activations


# ---------------------------------------------------------------------------------- by allocator


def allocations(work) -> Iterable[int]:
    """Yield what the allocator of the CPU gave (positive) and took back while work was done."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def highest(changes) -> int:
    now = most = 0
    for change in changes:
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("how", [PLAIN, SAVING])
def test_the_peak_of_real_training_is_as_foretold(how):
    denoiser, point = unet(), torch.zeros(32, *SHAPE)
    accelerator = make_accelerator("cpu", "no")
    trainer = Trainer(Examples(point), DDPMScheduler(), accelerator, how.gradient_checkpointing)
    recipe = replace(RECIPE, steps=2)

    def train():
        trainer.train(Training(denoiser, recipe, torch.arange(32)), Stream(0))

    train()  # what is only made once is there before
    seen = highest(allocations(train))
    found = of_training(denoiser, example(*SHAPE), recipe, how)
    foretold = found.total - found.weights  # the weights were there before
    assert 0.9 * seen < foretold < 1.01 * seen  # what an operation needs for itself is not counted


def test_the_peak_of_real_sampling_is_as_foretold():
    denoiser = unet().eval()
    sample, timestep = torch.zeros(16, *SHAPE), torch.zeros(16, dtype=torch.long)

    def call():
        with torch.inference_mode():
            denoiser(sample, timestep)

    call()
    found = of_sampling(denoiser, example(*SHAPE), 16, PLAIN)
    weights = sum(p.nbytes for p in denoiser.parameters())
    seen = highest(allocations(call))
    assert 0.9 * seen < found - weights < 1.01 * seen


# ---------------------------------------------------------------------------------- what it is for


def test_settings_that_save_memory_do():
    denoiser = unet()

    def total(how=PLAIN, **changes):
        return of_training(denoiser, example(*SHAPE), replace(RECIPE, **changes), how).total

    assert total(SAVING) < total()
    assert total(PLAIN._replace(device="cuda", precision="bf16")) < total()
    assert total(optimizer="adamw8bit") < total()
    assert total(batch_size=8) < total()


def test_no_numbers_are_needed_and_nothing_is_changed():
    with torch.device("meta"):
        shapes = unet()
    denoiser = unet()
    before = copy.deepcopy(denoiser.state_dict())
    denoiser.eval()
    assert of_training(shapes, example(*SHAPE), RECIPE, SAVING) == of_training(
        denoiser, example(*SHAPE), RECIPE, SAVING
    )
    assert not denoiser.training
    assert not denoiser.is_gradient_checkpointing
    assert all(p.grad is None for p in denoiser.parameters())
    assert all(torch.equal(v, before[k]) for k, v in denoiser.state_dict().items())


def test_a_denoiser_that_looks_at_numbers_cannot_be_foretold():
    class Looking(Chain):
        def forward(self, sample, timestep):
            return super().forward(sample * (1 if sample.sum().item() > 0 else 2), timestep)

    with pytest.raises(UNFORESEEABLE):
        of_training(Looking(), example(6), RECIPE, PLAIN)


def test_a_denoiser_without_gradient_checkpointing_is_refused():
    with pytest.raises(ConfigError, match=r"^runtime\.gradient_checkpointing: .* got a Chain"):
        of_training(Chain(), example(6), RECIPE, SAVING)
    trainer = Trainer(
        Examples(torch.zeros(4, 6)), DDPMScheduler(), make_accelerator("cpu", "no"), True
    )
    with pytest.raises(ConfigError, match=r"^runtime\.gradient_checkpointing: .* got a Chain"):
        trainer.train(Training(Chain(), RECIPE, torch.arange(4)), Stream(0))


def test_bytes_are_told_in_units_of_a_thousand():
    assert told(12_340_000_000) == "12.3 GB"
    assert told(100_000_000) == "0.1 GB"
    assert told(99_900_000) == "99.9 MB"


# ---------------------------------------------------------------------------------- checkpointing


def trained(denoiser, saving, **changes):
    points = Stream(1).normal(torch.arange(12), SHAPE)
    trainer = Trainer(Examples(points), DDPMScheduler(), make_accelerator("cpu", "no"), saving)
    recipe = replace(RECIPE, steps=3, batch_size=4, **changes)
    return trainer.train(Training(denoiser, recipe, torch.arange(12)), Stream(2))


def with_adapters():
    denoiser = unet()
    names = lora.target_names(denoiser, ("to_q", "to_v"))
    lora.attach(denoiser, dict.fromkeys(names, 2), 1.0, 0.2, seed=0)
    return denoiser


@pytest.fixture
def called(monkeypatch):
    """Return the calls whose activations are computed again, as they come."""
    calls = []
    original = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        torch.utils.checkpoint,
        "checkpoint",
        lambda *args, **kwargs: calls.append(args) or original(*args, **kwargs),
    )
    return calls


@pytest.mark.parametrize("make", [unet, lambda: unet(dropout=0.3), with_adapters])
def test_gradient_checkpointing_changes_nothing_but_rounding(make, called):
    plain = trained(make(), False)
    assert not called
    denoiser = make()
    saved = trained(denoiser, True)
    assert called
    assert not denoiser.is_gradient_checkpointing
    start = dict(make().named_parameters())
    assert any(not torch.equal(saved[name], start[name]) for name in saved)
    for name, expected in plain.items():
        torch.testing.assert_close(saved[name], expected, rtol=1e-4, atol=1e-6)


def test_gradients_are_the_same_with_it(called):
    denoiser, points = unet(), Stream(1).normal(torch.arange(6), SHAPE)
    found = []
    for saving in (False, True):
        trainer = Trainer(Examples(points), DDPMScheduler(), make_accelerator("cpu", "no"), saving)
        found.append(list(trainer.gradients(denoiser, torch.arange(6), 4, Stream(3))))
        assert bool(called) is saving
    assert [batch.examples for batch in found[1]] == [4, 2]
    for plain, saved in zip(*found, strict=True):
        for name, expected in plain.by_name.items():
            torch.testing.assert_close(saved.by_name[name], expected, rtol=1e-4, atol=1e-6)


def test_buffers_are_weights_that_have_no_gradient_and_no_moments():
    class Shifted(Chain):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.zeros(6))
            self.register_buffer("order", torch.arange(6))

        def forward(self, sample, timestep):
            return SimpleNamespace(sample=self.layers(sample)[:, self.order] + self.shift.view(6))

    plain, shifted = (of_training(m, example(6), RECIPE, PLAIN) for m in (Chain(), Shifted()))
    assert shifted.weights == plain.weights + (4 + 8) * 6
    sampling, more = (of_sampling(m, example(6), 16, PLAIN) for m in (Chain(), Shifted()))
    assert more == sampling + (4 + 8) * 6
    for same in ("gradients", "moments", "average", "activations"):
        assert getattr(shifted, same) == getattr(plain, same)


def test_the_last_block_of_an_optimizer_of_8_bits_may_be_a_part():
    class Odd(Chain):
        def __init__(self):
            super().__init__()
            self.layers = nn.Linear(17, 241, bias=False)  # 4,097 numbers: 16 blocks and one more

    found = of_training(Odd(), example(17), replace(RECIPE, optimizer="adamw8bit"), PLAIN)
    assert found.moments == 2 * (4097 + 4 * 17)
