import copy
import gc
import weakref
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler
from repeating_tape import RepeatingTape
from test_stacking import (
    POINTS,
    RECIPE,
    alone,
    attentive,
    conditional_with_adapters,
    trainings,
)

from crediting.generation import Ddim, DpmSolver, Pndm
from crediting.randomness import Stream
from crediting.training.compiling import as_it_is
from crediting.training.cuda_graphs import WARM_UP, CudaTape, Replayed, ReplayedDenoiser
from crediting.training.examples import Examples
from crediting.training.stacking import train_stacked
from crediting.training.trainer import Trainer, make_accelerator

ON_A_GPU = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
)
DEVICES = ("cpu", ON_A_GPU)


@pytest.fixture(autouse=True)
def _nothing_recorded_yet():
    RepeatingTape.recordings = 0


def tape_of(device):
    return CudaTape if device == "cuda" else RepeatingTape


def make_trainer(device="cpu", precision="no", captions=False, **options):
    conditions = {}
    if captions:
        numbers = Stream("captions").normal(torch.arange(3), (5, 4))
        conditions = {"captions": numbers, "caption_of": torch.arange(30) % 3}
    examples = Examples(POINTS, in_pixels=True, **conditions).to(torch.device(device))
    AcceleratorState._reset_state(reset_partial_state=True)
    return Trainer(examples, DDPMScheduler(), make_accelerator(device, precision), **options)


def on(device, training):
    examples = training.examples.to(device)
    return replace(training, denoiser=training.denoiser.to(device), examples=examples)


LONGER = replace(RECIPE, steps=WARM_UP + 5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ascend", [False, True])
def test_recorded_steps_train_as_those_that_are_not(device, ascend):
    plain = make_trainer(device)
    recorded = make_trainer(device, make_tape=tape_of(device))
    for training, same in zip(
        trainings(attentive(), LONGER, ascend=ascend),
        trainings(attentive(), LONGER, ascend=ascend),
        strict=True,
    ):
        found = alone(recorded, on(device, training))
        expected = alone(plain, on(device, same))
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
        assert all(p.grad is None for p in training.denoiser.parameters())
    if device == "cpu":
        assert RepeatingTape.recordings == 3


@pytest.mark.parametrize("device", DEVICES)
def test_rates_of_adapters_follow_the_schedule_in_a_recording(device):
    recipe = replace(LONGER, horizontal_flip=False, learning_rate=3e-2)
    options = {"rate_factors": {"lora_B": 4.0}}
    plain = make_trainer(device, captions=True)
    recorded = make_trainer(device, captions=True, make_tape=tape_of(device))
    first, same = (trainings(conditional_with_adapters(), recipe, **options)[0] for _ in range(2))
    found, expected = alone(recorded, on(device, first)), alone(plain, on(device, same))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_stacks_are_recorded(device):
    plain = make_trainer(device)
    recorded = make_trainer(device, make_tape=tape_of(device))
    found, expected = (
        train_stacked(
            trainer, [on(device, one) for one in trainings(attentive(), LONGER)], Stream("stack")
        )
        for trainer in (recorded, plain)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    if device == "cpu":
        assert RepeatingTape.recordings == 1


@pytest.mark.parametrize("device", DEVICES)
def test_stacks_of_adapters_are_recorded_in_half_precision(device):
    recipe = replace(LONGER, horizontal_flip=False, learning_rate=3e-2)
    recorded = make_trainer(device, "bf16", captions=True, make_tape=tape_of(device))
    plain = make_trainer(device, "bf16", captions=True)
    found, expected = (
        train_stacked(
            trainer,
            [on(device, one) for one in trainings(conditional_with_adapters(), recipe)],
            Stream("stack"),
        )
        for trainer in (recorded, plain)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("tape", "kind"), [(None, float), (RepeatingTape, torch.Tensor)])
def test_recorded_steps_find_their_rate_in_memory(tape, kind, monkeypatch):
    """A GPU would repeat a plain number at every step; on a CPU that does not show."""
    kinds = []

    def set_rate(optimizer, rate):
        kinds.append(type(optimizer.param_groups[0]["lr"]))

    monkeypatch.setattr("crediting.training.trainer.set_rate", set_rate)
    monkeypatch.setattr("crediting.training.stacking.set_rate", set_rate)
    several = trainings(attentive(), replace(RECIPE, steps=1))
    alone(make_trainer(make_tape=tape), several[0])
    train_stacked(make_trainer(make_tape=tape), several[1:], Stream("stack"))
    assert kinds == [kind, kind]


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("tape", [None, RepeatingTape])
def test_nothing_of_a_training_outlives_it(precision, tape):
    """Memory on a GPU must be free at once, not when Python next looks for cycles."""
    trainer = make_trainer(precision=precision, make_tape=tape)
    gc.collect()
    gc.disable()
    try:
        several = trainings(attentive(), replace(RECIPE, steps=WARM_UP + 2))
        gone = [weakref.ref(one.denoiser) for one in several]
        alone(trainer, several.pop(0))
        train_stacked(trainer, several, Stream("stack"))
        del several
        assert [one() for one in gone] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("recipe", "dropout", "options"),
    [
        (replace(LONGER, optimizer="adamw8bit"), 0.0, {}),
        (LONGER, 0.1, {}),
        (LONGER, 0.0, {"gradient_checkpointing": True}),
    ],
)
def test_what_a_recording_could_not_repeat_is_not_recorded(recipe, dropout, options):
    trainer = make_trainer(make_tape=RepeatingTape, **options)
    assert trainer.tape(attentive(dropout), recipe) is None
    assert make_trainer(make_tape=RepeatingTape).tape(attentive(), LONGER) is not None
    assert make_trainer().tape(attentive(), LONGER) is None


class Queue:
    def __init__(self):
        self.waited_for = []

    def wait_stream(self, other):
        self.waited_for.append(other)


def test_what_comes_next_waits_for_work_that_failed(monkeypatch):
    usual, own = Queue(), Queue()
    monkeypatch.setattr(torch.cuda, "Stream", lambda: own)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: usual)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    with pytest.raises(ZeroDivisionError):
        CudaTape().run(lambda: 1 / 0)
    assert own.waited_for == [usual]
    assert usual.waited_for == [own]


@pytest.mark.parametrize("device", DEVICES)
def test_a_function_is_called_until_it_is_recorded_and_then_repeated(device):
    calls = []

    def work(a, b):
        calls.append(a.shape)
        return 2 * a + b

    replayed = Replayed(work, tape_of(device)())
    for number in range(WARM_UP + 4):
        a, b = (torch.full((3,), value, device=device) for value in (1.0 * number, 0.5))
        assert torch.equal(replayed(a, b), 2 * a + b)
    assert len(calls) == (WARM_UP + 1 if device == "cuda" else WARM_UP + 4)


@pytest.mark.parametrize("device", DEVICES)
def test_what_a_recording_is_given_stays_as_it_is(device):
    given = [torch.full((3,), float(number), device=device) for number in range(WARM_UP + 3)]
    replayed = Replayed(lambda one: 2 * one, tape_of(device)())
    for one in given:
        replayed(one)
    assert [one.tolist() for one in given] == [[number] * 3 for number in range(WARM_UP + 3)]


@pytest.mark.parametrize("device", DEVICES)
def test_one_recording_serves_the_denoisers_of_all_coalitions(device):
    original = attentive().eval().to(device, torch.float64)  # predictions are large here
    replayed = ReplayedDenoiser(original, as_it_is, tape_of(device)())
    kept = []
    for number in range(WARM_UP + 3):
        other = moved(original, 0.1 * number)
        assert replayed.fits(other)
        replayed.take(other)
        for size in (2, 5):
            noisy = (
                Stream("points").normal(torch.arange(size), (1, 8, 8)).to(original.device).double()
            )
            timestep = torch.tensor(100 * number, device=device)
            with torch.inference_mode():
                kept.append([f(noisy, timestep).sample for f in (replayed, other)])
    for found, expected in kept:  # later calls leave earlier predictions as they were
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    if device == "cpu":
        assert RepeatingTape.recordings == 2
    untouched = attentive().to(device, torch.float64)
    torch.testing.assert_close(original.state_dict(), untouched.state_dict())


@pytest.mark.parametrize("device", DEVICES)
def test_in_half_precision_no_weights_of_another_coalition_are_kept(device):
    """Autocast keeps what it has cast of weights that require gradients."""
    original = attentive().eval().to(device)
    replayed = ReplayedDenoiser(original, as_it_is, tape_of(device)())
    noisy = Stream("points").normal(torch.arange(2), (1, 8, 8)).to(device)
    timestep = torch.tensor(100, device=device)
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        for number in range(WARM_UP + 3):
            other = moved(original, 0.01 * number)
            replayed.take(other)
            found, expected = (f(noisy, timestep).sample for f in (replayed, other))
            torch.testing.assert_close(found, expected)


def moved(denoiser, distance):
    other = copy.deepcopy(denoiser)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(distance)
    return other


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sampler", [Ddim, DpmSolver, Pndm])
def test_images_are_those_of_the_denoiser_itself(device, sampler):
    model = Pixels()
    generation = sampler(images=7, steps=9, batch_size=4, prompts=None, guidance=None)
    original = attentive().eval().to(device)
    replayed = ReplayedDenoiser(original, as_it_is, tape_of(device)())
    for number in range(3):
        other = moved(original, 0.01 * number)
        replayed.take(other)
        found, expected = (generation.generate(f, model, 0, None) for f in (replayed, other))
        apart = (found.int() - expected.int()).abs()
        assert apart.max() <= 1  # of 255: rounding
        assert expected.float().std() > 10


class Pixels:
    """The family of the denoisers, as far as images are drawn."""

    def latent_shape(self):
        return (1, 8, 8)

    def noise_scheduler(self):
        return DDPMScheduler()

    def decode(self, latents):
        return ((latents.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def test_conditions_are_replayed_by_name_and_plain_numbers_not_at_all():
    denoiser = conditional_with_adapters().eval()
    replayed = ReplayedDenoiser(denoiser, as_it_is, RepeatingTape())
    timestep = torch.tensor(7)
    for number in range(WARM_UP + 2):
        noisy = Stream("points", number).normal(torch.arange(2), (1, 8, 8))
        words = Stream("captions", number).normal(torch.arange(2), (5, 4))
        with torch.inference_mode():
            expected = denoiser(noisy, timestep, words).sample
            for found in (
                replayed(noisy, timestep, encoder_hidden_states=words),
                replayed(noisy, timestep, words),
                replayed(noisy, 7, words),
            ):
                torch.testing.assert_close(found.sample, expected, rtol=0, atol=1e-5)
    assert RepeatingTape.recordings == 2


def test_where_memory_is_full_no_recording_is_kept():
    """They hold memory; what is drawn afterwards is recorded anew."""

    def refuse(module, inputs):
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    denoiser = attentive().eval()
    denoiser.register_forward_pre_hook(refuse)
    replayed = ReplayedDenoiser(denoiser, as_it_is, RepeatingTape())
    for expected in (1, 2):
        for _ in range(WARM_UP + 1):
            with torch.inference_mode():
                replayed(POINTS[:2], torch.tensor(7))
        assert RepeatingTape.recordings == expected
        with pytest.raises(torch.OutOfMemoryError):
            replayed(POINTS[:3], torch.tensor(7))


def test_a_denoiser_of_another_shape_does_not_fit():
    replayed = ReplayedDenoiser(attentive(), as_it_is, RepeatingTape())
    assert not replayed.fits(conditional_with_adapters())
    assert not replayed.fits(attentive().half())
