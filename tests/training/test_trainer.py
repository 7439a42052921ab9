import copy
import gc
import hashlib
import importlib.util
import itertools
import subprocess
import sys
import weakref
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler
from tiny_unet import unet
from torch import nn

from crediting.errors import ConfigError
from crediting.randomness import Stream
from crediting.training import Recipe
from crediting.training.batches import antithetic_timesteps, draw_batch
from crediting.training.compiling import as_it_is
from crediting.training.examples import Examples
from crediting.training.recipe import Training
from crediting.training.trainer import Trainer, make_accelerator

RECIPE = Recipe(
    steps=4,
    batch_size=8,
    optimizer="adam",
    learning_rate=1e-2,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    gradient_clip=1.0,
    ema_decay=0.9999,
    timesteps="antithetic",
    horizontal_flip=False,
)


def recipe(**changes):
    return Recipe(**{**vars(RECIPE), **changes})


class Small(nn.Module):
    """A denoiser that sees its timestep, for tests of the loop rather than of the network."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.first = nn.Linear(17, 32)
        self.second = nn.Linear(32, 16)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sample, timestep):
        inputs = torch.cat([sample.flatten(1), timestep[:, None] / 1000], dim=1)
        hidden = self.dropout(torch.relu(self.first(inputs)))
        return SimpleNamespace(sample=self.second(hidden).view_as(sample))


def small(**arguments):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Small(**arguments)


def latents(n=40):
    return Stream("latents").normal(torch.arange(n), (1, 4, 4))


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1.0, 1e5])
def test_gradients_in_fp16_neither_vanish_nor_overflow(size):
    """Small residuals give small gradients, which fp16 would round to 0."""
    half = SimpleNamespace(
        mixed_precision="fp16", autocast=lambda: torch.autocast("cpu", torch.float16)
    )
    full = SimpleNamespace(mixed_precision="no", autocast=nullcontext)
    denoiser, found = unet(), {}
    for name, accelerator in (("half", half), ("full", full)):
        by = Trainer(Examples(latents(), in_pixels=True), DDPMScheduler(), accelerator)
        loss = by.loss
        by.loss = Scaled(loss, size)
        (batch,) = by.gradients(denoiser, torch.arange(8), 8, Stream("gradients"))
        found[name] = torch.cat([part.flatten() for part in batch.by_name.values()]) / size
    error = (found["half"] - found["full"]).norm() / found["full"].norm()
    assert 0 < error < 0.01


class Scaled:
    """A loss times a number."""

    def __init__(self, loss, size):
        self.loss, self.size, self.n_timesteps = loss, size, loss.n_timesteps
        self.examples = loss.examples

    def __call__(self, *given):
        return self.size * self.loss(*given)


def trainer(data=None, precision="no", **noise):
    data = latents() if data is None else data
    examples = Examples(data, in_pixels=True)
    return Trainer(examples, DDPMScheduler(**noise), make_accelerator("cpu", precision))


def train(denoiser, how=RECIPE, examples=None, stream=None, by=None, on_step=None, **options):
    examples = torch.arange(40) if examples is None else examples
    training = Training(denoiser, how, examples, **options)
    on_step = on_step or (lambda step: None)
    return (by or trainer()).train(training, stream or Stream("training"), on_step=on_step)


def equal(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Recorder(nn.Module):
    """Notes what it is asked; what it answers is a number to be learnt."""

    def __init__(self):
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, sample, timestep):
        self.calls.append((sample.detach().clone(), timestep))
        return SimpleNamespace(sample=self.answer.expand_as(sample))


# ------------------------------------------------------------------------------- the process


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_images_are_noised_as_the_scheduler_would(schedule):
    by = trainer(beta_schedule=schedule)
    recorder = Recorder()
    train(recorder, recipe(steps=3), by=by)
    for step, (noisy, timesteps) in enumerate(recorder.calls):
        stream = Stream("training").at(step)
        ids = stream.at("batch").choose(torch.arange(40), 8)
        noise = stream.at("noise").normal(ids, (1, 4, 4))
        expected = DDPMScheduler(beta_schedule=schedule).add_noise(latents()[ids], noise, timesteps)
        torch.testing.assert_close(noisy, expected)
        assert torch.equal(timesteps, antithetic_timesteps(stream.at("time"), ids, 1000))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_target_is_the_schedulers(prediction_type):
    """The gradient of the squared error at answer 0 is minus twice the mean of the target."""
    by = trainer(prediction_type=prediction_type)
    recorder = Recorder()
    gradients = []
    recorder.answer.register_hook(lambda gradient: gradients.append(gradient.item()))
    train(recorder, recipe(steps=1), by=by)
    stream = Stream("training").at(0)
    ids = stream.at("batch").choose(torch.arange(40), 8)
    target = noise = stream.at("noise").normal(ids, (1, 4, 4))
    if prediction_type == "v_prediction":
        target = DDPMScheduler().get_velocity(latents()[ids], noise, recorder.calls[0][1])
    assert gradients == [pytest.approx(-2 * target.mean().item(), rel=1e-4)]


def test_another_prediction_type_is_refused():
    with pytest.raises(ConfigError, match=r"model\.noise\.prediction_type.*got 'sample'"):
        trainer(prediction_type="sample")


@pytest.mark.parametrize("n", [1, 2, 7, 8, 33])
def test_timesteps_come_in_pairs(n):
    timesteps = antithetic_timesteps(Stream("time"), torch.arange(n), 1000)
    assert len(timesteps) == n
    assert (timesteps.min() >= 0) & (timesteps.max() <= 999)
    half = n // 2 + 1
    assert torch.equal(timesteps[half:], 999 - timesteps[: n - half])


def test_timesteps_cover_the_whole_range():
    drawn = torch.cat(
        [antithetic_timesteps(Stream("time", s), torch.arange(64), 1000) for s in range(200)]
    )
    assert len(drawn.unique()) > 990
    assert drawn.double().mean() == pytest.approx(499.5, abs=3)


def test_half_of_the_images_are_flipped_and_others_stay():
    data = latents()
    recorder = Recorder()
    by = trainer(data, beta_start=1e-12, beta_end=1e-12)
    train(recorder, recipe(steps=20, horizontal_flip=True), by=by)
    flipped = []
    for step, (seen, _) in enumerate(recorder.calls):
        ids = Stream("training").at(step).at("batch").choose(torch.arange(40), 8)
        for image, original in zip(seen, data[ids], strict=True):
            stays, turns = (
                torch.allclose(image, o, atol=1e-3) for o in (original, original.flip(-1))
            )
            assert stays != turns
            flipped.append(turns)
    assert 0.4 < sum(flipped) / len(flipped) < 0.6


def test_whether_an_image_is_flipped_tells_nothing_of_its_timestep():
    how = recipe(timesteps="uniform", horizontal_flip=True, batch_size=40)
    batches = [draw_batch(how, torch.arange(40), Stream("flips", n), 1000) for n in range(100)]
    alike = [(times >= 500) == flipped for _, times, flipped in batches]
    assert 0.45 < torch.cat(alike).double().mean() < 0.55


def test_uniform_timesteps_come_one_by_one():
    recorder = Recorder()
    train(recorder, recipe(steps=2, timesteps="uniform"))
    for step, (_, timesteps) in enumerate(recorder.calls):
        stream = Stream("training").at(step)
        ids = stream.at("batch").choose(torch.arange(40), 8)
        assert torch.equal(timesteps, stream.at("time").integers(ids, 1000))


def test_latents_that_nobody_mirrored_are_not_flipped():
    by = Trainer(Examples(latents()), DDPMScheduler(), make_accelerator("cpu", "no"))
    with pytest.raises(ConfigError, match=r"horizontal_flip: .*model\.mirror=true"):
        train(Recorder(), recipe(horizontal_flip=True), by=by)


# ------------------------------------------------------------------------- what is trained, and how


def test_frozen_parameters_stay_and_only_trained_ones_are_returned():
    denoiser = small()
    denoiser.first.requires_grad_(False)
    before = copy.deepcopy(denoiser)
    averaged = train(denoiser)
    assert set(averaged) == {"second.weight", "second.bias"}
    assert torch.equal(denoiser.first.weight, before.first.weight)
    assert not torch.equal(denoiser.second.weight, before.second.weight)


def test_without_averaging_the_last_weights_are_returned():
    denoiser = small()
    averaged = train(denoiser, recipe(ema_decay=0.0))
    for name, parameter in denoiser.named_parameters():
        assert torch.equal(averaged[name], parameter)


def test_ascent_takes_the_opposite_step():
    plain = recipe(steps=1, gradient_clip=1e6)
    start, down, up = small(), small(), small()
    train(down, plain)
    train(up, plain, ascend=True)
    for a, b, c in zip(*(m.parameters() for m in (start, down, up)), strict=True):
        torch.testing.assert_close(b - a, a - c, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("key", ["second", "ond.weight"])
def test_a_rate_of_its_own_for_parameters_whose_name_holds_a_key(key):
    """The first step of Adam is as long as the learning rate."""
    start, denoiser = small(), small()
    train(denoiser, recipe(steps=1, learning_rate=1e-3), rate_factors={key: 16.0})
    steps = {
        name: (moved - before).abs().max().item()
        for (name, moved), before in zip(
            denoiser.named_parameters(), start.parameters(), strict=True
        )
    }
    assert steps["first.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert steps["second.weight"] == pytest.approx(16e-3, rel=1e-2)


def test_the_rate_follows_the_schedule():
    """With a warm-up the first step does not move, and a cosine ends with hardly any move."""
    how = recipe(steps=30, schedule="cosine", warmup=1 / 30, ema_decay=0.0)
    seen = []
    denoiser = small()
    train(denoiser, how, on_step=lambda step: seen.append(denoiser.first.weight.detach().clone()))
    moves = [(b - a).abs().max().item() for a, b in itertools.pairwise(seen)]
    assert moves[0] == 0
    assert moves[-1] < moves[1] / 50


def test_a_missing_optimizer_is_named():
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(ConfigError, match="optimizer: adamw8bit needs the package bitsandbytes"):
        train(small(), recipe(optimizer="adamw8bit"))


def test_gradients_visit_every_example_once():
    denoiser, by = small(dropout=0.5), trainer()
    examples = torch.tensor([3, 17, 20, 31, 39])
    found = list(by.gradients(denoiser, examples, 2, Stream("gradients")))
    assert [batch.examples for batch in found] == [2, 2, 1]
    (whole,) = by.gradients(denoiser, examples, 5, Stream("gradients"))
    for name, parameter in denoiser.named_parameters():
        mean = sum(batch.examples * batch.by_name[name] for batch in found) / 5
        torch.testing.assert_close(mean, whole.by_name[name])
        assert parameter.grad is None
    assert whole.loss == pytest.approx(sum(b.examples * b.loss for b in found) / 5, rel=1e-5)
    assert whole.entries == latents()[0].numel()


# ---------------------------------------------------------------------------------- the loop


def plain_loop(denoiser, how, data, stream, kind):
    """The same training in plain torch, with diffusers' own noising and a hand-written average."""
    scheduler = DDPMScheduler()
    optimizer = kind(denoiser.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay)
    average = [p.detach().clone() for p in denoiser.parameters()]
    losses = []
    for step in range(how.steps):
        at = stream.at(step)
        ids = at.at("batch").choose(torch.arange(len(data)), how.batch_size)
        noise = at.at("noise").normal(ids, tuple(data.shape[1:]))
        timesteps = antithetic_timesteps(at.at("time"), ids, 1000)
        predicted = denoiser(scheduler.add_noise(data[ids], noise, timesteps), timesteps).sample
        loss = ((predicted - noise) ** 2).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), how.gradient_clip)
        optimizer.step()
        decay = 0.0 if step == 0 else min(how.ema_decay, (1 + step) / (10 + step))
        average = [
            decay * a + (1 - decay) * p.detach()
            for a, p in zip(average, denoiser.parameters(), strict=True)
        ]
    return average, losses


@pytest.mark.parametrize(
    ("optimizer", "kind", "weight_decay"),
    [("adam", torch.optim.Adam, 0.0), ("adamw", torch.optim.AdamW, 0.1)],
)
@pytest.mark.parametrize("make", [small, unet])
def test_training_equals_a_plain_loop(make, optimizer, kind, weight_decay):
    how = recipe(steps=12, optimizer=optimizer, weight_decay=weight_decay, learning_rate=1e-3)
    ours, plain = make(), make()
    averaged = train(ours, how)
    expected, _ = plain_loop(plain, how, latents(), Stream("training"), kind)
    torch.testing.assert_close(list(ours.parameters()), list(plain.parameters()))
    assert list(averaged) == [name for name, _ in ours.named_parameters()]
    torch.testing.assert_close(
        list(averaged.values()), [nn.Parameter(e) for e in expected], check_dtype=False
    )


def test_the_largest_decay_rules_a_long_training():
    how = recipe(steps=30, ema_decay=0.3)
    ours, plain = small(), small()
    averaged = train(ours, how)
    expected, _ = plain_loop(plain, how, latents(), Stream("training"), torch.optim.Adam)
    torch.testing.assert_close([v.detach() for v in averaged.values()], expected)


def test_gradients_are_clipped():
    denoiser = small()
    norms = []
    by = trainer(1e3 * latents())
    original = torch.optim.Adam.step

    def watched(self, *arguments, **options):
        grads = [p.grad for p in self.param_groups[0]["params"]]
        norms.append(torch.stack([g.norm() for g in grads]).norm().item())
        return original(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", watched)
        train(denoiser, recipe(gradient_clip=0.01), by=by)
    assert norms == [pytest.approx(0.01, rel=1e-3)] * RECIPE.steps


def test_gradients_are_unscaled_before_they_are_clipped(monkeypatch):
    """In fp16 they are those of a multiple of the loss, which only a GPU shows."""
    done = []
    monkeypatch.setattr(Accelerator, "unscale_gradients", lambda self: done.append("unscaled"))
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *_, **__: done.append("clipped"))
    train(small())
    assert done == ["unscaled", "clipped"] * RECIPE.steps


def test_the_loss_falls():
    denoiser = small()
    data = torch.ones(4, 1, 4, 4)
    how = recipe(steps=300, batch_size=4)
    examples = torch.arange(4)
    losses = plain_losses(copy.deepcopy(denoiser), data)
    trainer(data).train(Training(denoiser, how, examples), Stream("training"))
    assert plain_losses(denoiser, data) < 0.5 * losses


def plain_losses(denoiser, data):
    _, losses = plain_loop(
        denoiser, recipe(steps=50, learning_rate=1e-12), data, Stream("test"), torch.optim.Adam
    )
    return sum(losses) / len(losses)


def test_no_steps_change_nothing():
    denoiser = small()
    averaged = train(denoiser, recipe(steps=0))
    assert equal(denoiser, small())
    assert all(torch.equal(averaged[name], p) for name, p in denoiser.named_parameters())


def test_finished_steps_are_told():
    told = []
    train(small(), on_step=told.append)
    assert told == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------------------- examples


def test_few_examples_are_all_in_every_batch():
    recorder = Recorder()
    train(recorder, examples=torch.tensor([3, 9, 30]))
    assert [len(noisy) for noisy, _ in recorder.calls] == [3] * RECIPE.steps


def test_training_touches_only_the_given_examples():
    examples = torch.tensor([1, 5, 6, 20, 39])
    poisoned = torch.full_like(latents(), float("nan"))
    poisoned[examples] = latents()[examples]
    one, other = small(), small()
    train(one, examples=examples, by=trainer(poisoned))
    train(other, examples=examples)
    assert all(torch.isfinite(p).all() for p in one.parameters())
    assert equal(one, other)


def test_training_on_nothing_is_a_bug():
    with pytest.raises(AssertionError, match="nothing to train on"):
        train(small(), examples=torch.tensor([], dtype=torch.long))


# -------------------------------------------------------------------------------- randomness


def test_training_is_a_function_of_its_stream():
    one, other, again = small(), small(), small()
    by = trainer()
    train(one, by=by)
    train(other, by=by, stream=Stream("other"))
    train(again, by=by)
    assert equal(one, again)
    assert not equal(one, other)


def test_dropout_is_a_function_of_the_stream_and_leaves_the_global_generator_alone():
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        denoiser = small(dropout=0.5)
        train(denoiser)
        assert torch.equal(torch.random.get_rng_state(), before)
        results.append(denoiser)
    assert equal(*results)
    without = small()
    train(without)
    assert not equal(results[0], without)


def test_what_was_left_for_evaluation_is_trained_with_dropout():
    left, other = small(dropout=0.5).eval(), small(dropout=0.5).train()
    train(left)
    train(other)
    assert equal(left, other)


def test_every_step_and_stream_drops_out_others():
    denoiser = small(dropout=0.5)
    masks = []
    denoiser.dropout.register_forward_hook(lambda m, i, output: masks.append(output[0] != 0))
    denoiser.first.register_forward_hook(lambda m, i, output: torch.ones_like(output))
    for name in ("one", "other"):
        train(denoiser, stream=Stream(name))
    assert len({tuple(mask.tolist()) for mask in masks}) == 2 * RECIPE.steps


SCRIPT = """
import sys
sys.path[:0] = {folders!r}
from test_trainer import fingerprint_of_a_training
print(fingerprint_of_a_training())
"""


def fingerprint_of_a_training():
    torch.set_num_threads(1)
    denoiser = unet()
    averaged = train(denoiser)
    sha = hashlib.sha256()
    for tensor in [*denoiser.parameters(), *averaged.values()]:
        sha.update(tensor.detach().numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.slow
def test_another_process_trains_the_same(request):
    script = SCRIPT.format(folders=[str(place) for place in request.path.parents[:2]])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == fingerprint_of_a_training()


# -------------------------------------------------------------------------------- accelerate


@pytest.fixture
def other_precision():
    """Let accelerate forget the precision of this process, before and after."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("other_precision")
def test_bf16_trains_about_the_same_and_leaves_a_plain_model():
    denoiser, exact = unet(), unet()
    kinds = set()
    hook = denoiser.conv_in.register_forward_hook(lambda m, i, output: kinds.add(output.dtype))
    averaged = train(denoiser, by=trainer(precision="bf16"))
    hook.remove()
    assert kinds == {torch.bfloat16}
    assert all(v.dtype == torch.float32 for v in [*denoiser.parameters(), *averaged.values()])
    plain_loop(exact, RECIPE, latents(), Stream("training"), torch.optim.Adam)
    ours, theirs = (nn.utils.parameters_to_vector(d.parameters()) for d in (denoiser, exact))
    start = nn.utils.parameters_to_vector(unet().parameters())
    assert (ours - theirs).norm() < 0.5 * (theirs - start).norm()
    sample = denoiser(latents(2), torch.tensor([1, 2])).sample
    assert sample.dtype == torch.float32
    assert torch.equal(copy.deepcopy(denoiser)(latents(2), torch.tensor([1, 2])).sample, sample)


@pytest.mark.usefixtures("other_precision")
def test_every_training_of_a_denoiser_is_cast():
    denoiser, kinds = small(), []
    denoiser.first.register_forward_hook(lambda m, i, output: kinds.append(output.dtype))
    for _ in range(2):
        train(denoiser, replace(RECIPE, steps=1), by=trainer(precision="bf16"))
    assert kinds == [torch.bfloat16] * 2


@pytest.mark.usefixtures("other_precision")
@pytest.mark.parametrize(
    "compiled", [as_it_is, lambda denoiser: denoiser], ids=["plain", "compiled"]
)
@pytest.mark.parametrize(("precision", "scaled"), [("no", False), ("no", True), ("bf16", False)])
def test_trained_models_are_let_go(precision, scaled, compiled, monkeypatch):
    def scaling(device, precision):
        accelerator = make_accelerator(device, precision)
        accelerator.scaler = torch.amp.GradScaler("cpu")  # as fp16 has it on a GPU
        return accelerator

    if scaled:
        monkeypatch.setattr("crediting.training.trainer.make_accelerator", scaling)
    by = trainer(precision=precision)
    by.compiled = compiled
    remembered = []
    gc.collect()
    gc.disable()  # a GPU's memory must not wait for whom Python collects some day
    try:
        for _ in range(5):
            denoiser = small()
            train(denoiser, recipe(steps=2), by=by)
            remembered += [weakref.ref(denoiser), *map(weakref.ref, denoiser.parameters())]
        del denoiser
        assert {ref() for ref in remembered} == {None}
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------ recipe


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", -1),
        ("batch_size", 0),
        ("optimizer", "sgd"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -0.1),
        ("gradient_clip", -1.0),
        ("ema_decay", 1.0),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=f"^{key}: expected .* got"):
        recipe(**{key: value})


def test_no_gradient_outlives_a_training():
    denoiser = small()
    train(denoiser)
    assert all(parameter.grad is None for parameter in denoiser.parameters())


@pytest.mark.usefixtures("other_precision")
def test_full_memory_in_half_precision_leaves_nothing_in_it():
    """What is tried again after an error must not end in more of it than was asked for."""
    in_half = trainer(precision="bf16").autocast
    with pytest.raises(RuntimeError, match="out of memory"), in_half():
        raise RuntimeError("out of memory")
    assert not torch.is_autocast_enabled("cpu")
    assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32
