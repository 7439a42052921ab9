import os
import signal
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from crediting.errors import ArtifactError, as_user_error
from crediting.randomness import Stream
from crediting.training import Recipe, trainer
from crediting.training.checkpoint import TrainingCheckpoint, TrainingState
from crediting.training.examples import Examples
from crediting.training.recipe import Training
from crediting.training.trainer import Trainer, make_accelerator, partial_checkpoint


class Denoiser(nn.Module):
    """Dropout, a buffer and a parameter that is frozen, beside what is trained."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Conv2d(8, 1, 3, padding=1)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, sample, timestep):
        hidden = torch.relu(self.norm(self.first(sample)))
        return SimpleNamespace(sample=self.frozen * self.last(self.dropout(hidden)))


def denoiser():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Denoiser()


def in_another_order():
    """Return the same with its weights as runtime.channels_last=true lays them out."""
    return denoiser().to(memory_format=torch.channels_last)


def train(model, checkpoint=None, on_step=lambda step: None, steps=None, optimizer="adamw"):
    """Train on a cosine over 12 steps, or at a constant rate over as many as are asked for."""
    recipe = Recipe(
        steps=steps or 12,
        batch_size=4,
        optimizer=optimizer,
        learning_rate=1e-2,
        weight_decay=0.01,
        schedule="constant" if steps else "cosine",
        warmup=0.0 if steps else 0.25,
        gradient_clip=1.0,
        ema_decay=0.9999,
        timesteps="antithetic",
        horizontal_flip=True,
    )
    latents = Stream("latents").normal(torch.arange(10), (1, 4, 4))
    examples = Examples(latents, in_pixels=True)
    trainer = Trainer(examples, DDPMScheduler(), make_accelerator("cpu", "no"))
    training = Training(model, recipe, torch.arange(10))
    return trainer.train(training, Stream("run"), checkpoint, on_step)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint" / "training.safetensors"


def saving(path, every_seconds=0.0, identity="mine"):
    return TrainingCheckpoint(path, every_seconds, identity)


class KilledError(Exception):
    pass


def kill_at(step):
    def on_step(finished):
        if finished == step:
            raise KilledError

    return on_step


def interrupted(path, step, make=denoiser, **options):
    with pytest.raises(KilledError):
        train(make(), saving(path), kill_at(step), **options)


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


# ------------------------------------------------------------------------- bit for bit again


def test_weights_in_another_order_of_memory_are_resumed(path):
    undisturbed, resumed = in_another_order(), in_another_order()
    average = train(undisturbed)
    interrupted(path, 5, in_another_order)
    assert_equal(train(resumed, saving(path)), average)
    assert_equal(resumed.state_dict(), undisturbed.state_dict())


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("step", [1, 5, 11, 12])
def test_a_killed_training_ends_as_if_undisturbed(path, tmp_path, step, optimizer):
    undisturbed = denoiser()
    other = tmp_path / "other.safetensors"
    average = train(undisturbed, saving(other), optimizer=optimizer)
    interrupted(path, step, optimizer=optimizer)
    resumed = denoiser()
    steps = []
    assert_equal(train(resumed, saving(path), steps.append, optimizer=optimizer), average)
    assert steps == list(range(step, 13))
    assert_equal(resumed.state_dict(), undisturbed.state_dict())
    if step < 12:  # what was saved last holds the optimizer, too
        assert_equal(load_file(path), load_file(other))
        assert any(key.endswith("exp_avg_sq") for key in load_file(path))


class FoldedMomentum(torch.optim.Optimizer):
    """Keeps its state as those of bitsandbytes do: steps as an int, shared tables, more folds."""

    def __init__(self, groups, lr, weight_decay):
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self.shared = torch.arange(256.0)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state |= {"step": 0, "state1": torch.zeros(parameter.shape, dtype=torch.uint8)}
                    state["qmap1"] = self.shared
                state["step"] += 1
                state["state1"] += (parameter.grad > 0).to(torch.uint8)
                share = state["state1"] / state["step"] - 0.5  # of the gradients that were positive
                parameter -= group["lr"] * share

    def state_dict(self):
        found = super().state_dict()
        state = found["state"].items()
        found["state"] = {number: {"step": s["step"], "folded": dict(s)} for number, s in state}
        return found

    def load_state_dict(self, state_dict):
        state = state_dict["state"].items()
        unfolded = {number: values.get("folded", values) for number, values in state}
        super().load_state_dict({**state_dict, "state": unfolded})
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, values in unfolded.items():  # torch's own makes floats of 8 bits
            self.state[parameters[number]] = dict(values)


@pytest.mark.parametrize("step", [1, 7])
def test_eight_bit_optimizers_are_resumed(path, monkeypatch, step):
    optim = ModuleType("bitsandbytes.optim")
    optim.AdamW8bit = FoldedMomentum
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", optim)
    undisturbed, resumed = denoiser(), denoiser()
    average = train(undisturbed, optimizer="adamw8bit")
    interrupted(path, step, optimizer="adamw8bit")
    assert_equal(train(resumed, saving(path), optimizer="adamw8bit"), average)
    assert_equal(resumed.state_dict(), undisturbed.state_dict())
    assert load_file(path)["optimizer.0.step"] == 12


def test_a_training_may_be_killed_often(path):
    undisturbed = denoiser()
    train(undisturbed)
    for step in (2, 3, 9):
        interrupted(path, step)
    resumed = denoiser()
    train(resumed, saving(path))
    assert_equal(resumed.state_dict(), undisturbed.state_dict())


def test_the_scale_of_the_loss_in_fp16_is_resumed(path, monkeypatch):
    """The scale grows every second step, and gradients are clipped after it, so that it shows."""

    def scaled(device, precision):
        accelerator = make_accelerator("cpu", "no")
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=2)
        scalers.append(accelerator.scaler)
        return accelerator

    scalers = []
    monkeypatch.setattr(trainer, "make_accelerator", scaled)
    undisturbed, resumed = denoiser(), denoiser()
    train(undisturbed)
    interrupted(path, 7)
    train(resumed, saving(path))
    assert scalers[-1].state_dict() == scalers[0].state_dict()
    assert scalers[0].get_scale() == 2.0**7
    assert_equal(resumed.state_dict(), undisturbed.state_dict())


def test_precision_may_change_in_between(path, monkeypatch):
    interrupted(path, 5)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    monkeypatch.setattr(trainer, "make_accelerator", lambda *_: scaled_accelerator(scaler))
    train(denoiser(), saving(path))
    assert scaler.get_scale() == 2.0
    monkeypatch.undo()
    train(denoiser(), saving(path))


def scaled_accelerator(scaler):
    accelerator = make_accelerator("cpu", "no")
    accelerator.scaler = scaler
    return accelerator


SCRIPT = """
import sys, time
sys.path[:0] = {folders!r}
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_training_checkpoint import denoiser, saving, train

def on_step(step):
    print(step, flush=True)
    time.sleep(0.01)

train(denoiser(), saving(Path({path!r})), on_step, steps=10_000)
"""


@pytest.mark.slow
def test_a_process_killed_for_real_is_resumed(path, request):
    script = SCRIPT.format(
        folders=[str(place) for place in request.path.parents[:2]], path=str(path)
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if int(line) >= 20:
                time.sleep(0.005)
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    with safe_open(path, framework="pt") as file:
        finished = int(file.metadata()["step"])
    assert finished >= 20
    undisturbed, resumed = denoiser(), denoiser()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(undisturbed, steps=finished + 5)
    steps = []
    train(resumed, saving(path), steps.append, steps=finished + 5)
    torch.set_num_threads(threads)
    assert steps[0] == finished
    assert_equal(resumed.state_dict(), undisturbed.state_dict())


# ---------------------------------------------------------------------------- when and where


def test_nothing_is_saved_before_it_is_time(path):
    train(denoiser(), saving(path, every_seconds=1000))
    assert not path.parent.exists()


def test_the_checkpoint_lies_in_the_artifacts_folder(tmp_path):
    train(denoiser(), partial_checkpoint(tmp_path, 0, "model"), steps=1)
    files = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()]
    assert files == ["checkpoint/training.safetensors"]


def test_a_file_that_was_being_written_is_no_checkpoint(path):
    interrupted(path, 5)
    path.rename(path.with_suffix(".partial"))
    steps = []
    train(denoiser(), saving(path), steps.append)
    assert steps[0] == 0


def test_a_kill_while_saving_leaves_the_checkpoint_before(path, monkeypatch):
    interrupted(path, 5)
    before = path.read_bytes()

    def fail(file):
        raise KilledError

    monkeypatch.setattr("crediting.files.os.fsync", fail)
    with pytest.raises(KilledError):
        train(denoiser(), saving(path))
    assert path.read_bytes() == before


# ----------------------------------------------------------------------------- damaged files


def rewritten(change=lambda tensors: tensors, **facts):
    def damage(path):
        with safe_open(path, framework="pt") as file:
            facts_before = file.metadata()
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        save_file(change(tensors), path, {**facts_before, **facts})

    return damage


def without(word):
    return lambda tensors: {k: v for k, v in tensors.items() if word not in k}


def doubled(tensors):
    return {name: torch.stack([tensor, tensor]) for name, tensor in tensors.items()}


def test_want_of_memory_is_no_fault_of_the_file(path, monkeypatch):
    interrupted(path, 5)
    before = path.read_bytes()

    def load(self, tensors):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    with monkeypatch.context() as full:
        full.setattr(TrainingState, "load", load)
        with pytest.raises(torch.OutOfMemoryError) as raised:
            train(denoiser(), saving(path))
    said = str(as_user_error(raised.value))
    assert "(CUDA out of memory)" in said
    assert "run the same command again" in said
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(os.urandom(5000)), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cannot be read"),
        (lambda path: save_file({"x": torch.ones(1)}, path), "belongs to another training"),
        (rewritten(identity="another"), "belongs to another training"),
        (rewritten(step="five"), "cannot be read"),
        (rewritten(without("average.1")), "cannot be read"),
        (rewritten(without("denoiser.last")), "cannot be read"),
        (rewritten(doubled), "cannot be read"),
    ],
    ids=[
        "empty",
        "noise",
        "truncated",
        "foreign",
        "another",
        "no step",
        "no average",
        "no weights",
        "shapes",
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused_by_name(path, damage, problem):
    interrupted(path, 5)
    damage(path)
    with pytest.raises(ArtifactError, match=problem) as refusal:
        train(denoiser(), saving(path))
    assert str(path) in str(refusal.value)
    assert "Delete the file and run the same command again" in str(refusal.value)
    path.unlink()
    train(denoiser(), saving(path))


def saved_step(path):
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def test_the_last_step_is_saved_at_any_time_for_who_takes_over(tmp_path):
    checkpoint = partial_checkpoint(tmp_path, 1000, "mine", end=12)
    train(denoiser(), checkpoint)
    (path,) = (tmp_path / "checkpoint").iterdir()
    assert saved_step(path) == 12
    assert "optimizer.0.exp_avg" in load_file(path)


def steps_saved(path, monkeypatch, offers, takes=0.0):
    """Return which step is saved after each offer, given when they are made, every 10 seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "crediting.training.checkpoint.time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    model = denoiser()
    optimizer = torch.optim.Adam(model.parameters())

    class Slow(TrainingState):
        def tensors(self):
            clock.now += takes
            return super().tensors()

    checkpoint, saved = saving(path, every_seconds=10), []
    for step, clock.now in enumerate(offers, start=1):
        checkpoint.offer(step, Slow(model, optimizer, SimpleNamespace(shadow_params=[]), None))
        saved.append(saved_step(path) if path.exists() else None)
    return saved


def test_between_two_saves_is_the_time_that_was_asked_for(path, monkeypatch):
    offers = [4.0, 11.0, 15.0, 20.0, 21.0, 25.0, 31.0]
    assert steps_saved(path, monkeypatch, offers) == [None, 2, 2, 2, 5, 5, 7]


def test_a_save_that_takes_long_is_a_tenth_of_the_time_at_most(path, monkeypatch):
    offers = [10.0, 20.0, 60.0, 70.0, 80.0, 130.0]  # the first ends at 16, the second at 76
    assert steps_saved(path, monkeypatch, offers, takes=6.0) == [1, 1, 1, 4, 4, 6]


def test_no_save_takes_so_long_that_much_more_than_was_asked_for_can_be_lost(path, monkeypatch):
    offers = [10.0, 700.0, 711.0]  # the first ends at 110
    assert steps_saved(path, monkeypatch, offers, takes=100.0) == [1, 1, 3]


def test_what_is_frozen_is_not_saved(path):
    interrupted(path, 5)
    keys = set(load_file(path))
    assert "denoiser.frozen" not in keys
    assert {"denoiser.first.weight", "denoiser.norm.running_mean"} <= keys


def test_moments_of_8_bits_and_a_number_of_steps_that_was_an_int_are_so_again():
    """The kernels of bitsandbytes take nothing else for them."""

    def state():
        model = denoiser()
        optimizer = FoldedMomentum(list(model.first.parameters()), 0.1, 0.0)
        return TrainingState(model, optimizer, SimpleNamespace(shadow_params=[]), None)

    one, other = state(), state()
    one.denoiser.first.weight.grad = torch.ones_like(one.denoiser.first.weight)
    one.optimizer.step()
    other.load(one.tensors())
    (restored,) = other.optimizer.state.values()
    assert type(restored["step"]) is int
    assert restored["step"] == 1
    assert restored["state1"].dtype == torch.uint8
