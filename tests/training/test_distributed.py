"""Several processes train as one would, and end as one does."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import members_for_tests as members
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from tiny_unet import unet
from torch import nn

from crediting.errors import ConfigError, CreditingError
from crediting.pipeline.machine import open_machine
from crediting.randomness import Stream
from crediting.training import Recipe, distributed
from crediting.training.checkpoint import TrainingCheckpoint
from crediting.training.distributed import run_together, share_of
from crediting.training.examples import Examples
from crediting.training.recipe import Training
from crediting.training.trainer import Trainer

RECIPE = Recipe(
    steps=6,
    batch_size=7,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    schedule="cosine",
    warmup=0.2,
    gradient_clip=1.0,
    ema_decay=0.9999,
    timesteps="antithetic",
    horizontal_flip=True,
)


@pytest.fixture(autouse=True)
def _no_process_is_left_behind():
    of_other_tests = set(multiprocessing.active_children())  # joblib keeps its workers for later
    yield
    assert set(multiprocessing.active_children()) <= of_other_tests


# ------------------------------------------------------------------------------- shares


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_shares_are_the_batch_and_weigh_as_much(size, processes):
    """A mean over processes of weighted mean losses is the mean loss, for any losses."""
    batch = (torch.arange(size), torch.arange(size) + 100, torch.arange(size) % 2 == 0)
    losses = torch.rand(size, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    shares = [share_of(batch, rank, processes) for rank in range(processes)]
    means = [weight * losses[ids].mean() for (ids, _, _), weight in shares]
    torch.testing.assert_close(sum(means) / processes, losses.mean())
    computed = [part for part, weight in shares if weight > 0]
    for column, whole in enumerate(batch):
        assert torch.equal(torch.cat([part[column] for part in computed]), whole)


def test_nothing_to_mirror_stays_nothing():
    (ids, timesteps, flipped), weight = share_of((torch.arange(4), torch.arange(4), None), 1, 2)
    assert (ids.tolist(), timesteps.tolist(), flipped, weight) == ([2, 3], [2, 3], None, 1.0)


# ----------------------------------------------------------------- as one process would


def compiled(denoiser: nn.Module) -> nn.Module:
    """Stand for a compiler, which processes that share a training must do without."""
    return denoiser


def train(folder: Path, batch_size: int, stop_at: int | None, rank: int) -> None:
    """Train the small U-Net, saving every step, and note what this process ends with."""
    runtime = {"device": "cpu", "precision": "fp32", "threads": 1}
    examples = Examples(Stream("latents").normal(torch.arange(20), (1, 4, 4)), in_pixels=True)
    trainer = Trainer(examples, DDPMScheduler(), open_machine(runtime), compiled=compiled)
    recipe = Recipe(**{**vars(RECIPE), "batch_size": batch_size})
    checkpoint = TrainingCheckpoint(folder / "training.safetensors", 0.0, "mine")
    denoiser = unet()
    steps = []

    def on_step(step):
        steps.append(step)
        if step == stop_at and rank == 0:
            raise StopIteration(f"stopped at step {step}")

    training = Training(denoiser, recipe, torch.arange(20))
    average = trainer.train(training, Stream("run"), checkpoint, on_step)
    found = {name: p.detach() for name, p in denoiser.named_parameters()}
    found |= {f"average.{name}": p.detach() for name, p in average.items()}
    save_file({name: p.clone() for name, p in found.items()}, folder / f"{rank}.safetensors")
    (folder / f"from-{steps[0]}-{rank}").touch()


class Dropping(nn.Module):
    """A denoiser that answers with what its dropout leaves of a number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.5)
        self.masks: list[torch.Tensor] = []

    def forward(self, sample, timestep):
        answer = self.dropout(self.scale.expand_as(sample))
        self.masks.append(answer.detach() != 0)
        return SimpleNamespace(sample=answer)


def drop_out(folder: Path, rank: int) -> None:
    """Note what is dropped out in the steps of this process, (steps, 1, 4, 4) of one image."""
    runtime = {"device": "cpu", "precision": "fp32", "threads": 1}
    trainer = Trainer(Examples(torch.zeros(2, 1, 4, 4)), DDPMScheduler(), open_machine(runtime))
    denoiser = Dropping()
    recipe = Recipe(**{**vars(RECIPE), "batch_size": 2, "horizontal_flip": False})
    trainer.train(Training(denoiser, recipe, torch.arange(2)), Stream("run"))
    save_file(
        {"masks": torch.stack([mask[0] for mask in denoiser.masks])},
        folder / f"masks-{rank}.safetensors",
    )


def train_in(processes, folder, batch_size=7, stop_at=None):
    """Train in so many processes, or in this one; return what each ended with."""
    folder.mkdir(exist_ok=True)
    work = partial(train, folder, batch_size, stop_at)
    threads = torch.get_num_threads()
    if processes == 1:
        work(0)
        torch.set_num_threads(threads)
    else:
        run_together(processes, "cpu", work)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(processes)]


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [7, 1])
def test_two_processes_train_as_one(tmp_path, batch_size):
    """With a batch of one the second process has nothing to do, and must not matter."""
    [alone] = train_in(1, tmp_path / "alone", batch_size)
    first, second = train_in(2, tmp_path / "together", batch_size)
    assert_close(first, alone)
    assert all(torch.equal(second[name], value) for name, value in first.items())
    start = dict(unet().named_parameters())
    moves = [(alone[name] - p).abs().max().item() for name, p in start.items()]
    assert min(moves) > 1e-4  # ten times what the two may differ by


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_resumes(tmp_path, before, after):
    [undisturbed] = train_in(1, tmp_path / "undisturbed")
    stopped = tmp_path / "stopped"
    with pytest.raises((StopIteration, RuntimeError), match="stopped at step 4"):
        train_in(before, stopped, stop_at=4)
    for found in train_in(after, stopped):
        assert_close(found, undisturbed)
    assert sorted(p.name for p in stopped.glob("from-*")) == [f"from-4-{r}" for r in range(after)]


@pytest.mark.slow
def test_the_first_process_drops_out_as_one_alone_and_the_second_otherwise(tmp_path):
    run_together(2, "cpu", partial(drop_out, tmp_path))
    first, second = (load_file(tmp_path / f"masks-{r}.safetensors")["masks"] for r in (0, 1))
    masks = {tuple(mask.flatten().tolist()) for mask in torch.cat([first, second])}
    assert len(masks) == 2 * RECIPE.steps
    drop_out(tmp_path, 0)
    assert torch.equal(load_file(tmp_path / "masks-0.safetensors")["masks"], first)


# ------------------------------------------------------------------- how processes end


def test_processes_know_each_other_and_tell_what_they_took(tmp_path, monkeypatch):
    environment, told = dict(os.environ), []
    monkeypatch.setattr(distributed, "tell_memory", lambda *memory: told.append(memory))
    run_together(3, "cpu", partial(members.add_up, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-6", "1-6", "2-6"]
    assert dict(os.environ) == environment
    assert len(told) == 3
    assert all(resident > 50e6 and allocated == 0 for resident, allocated in told)


def test_an_error_in_one_process_ends_all_and_shows_its_traceback():
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a slip of ours") as caught:
        run_together(2, "cpu", members.slip_in_the_second)
    assert "in slip_in_the_second" in str(caught.value)


def test_an_error_that_the_user_can_mend_stays_one():
    with pytest.raises(ConfigError, match=r"^optimizer: adamw8bit needs the package bitsandbytes$"):
        run_together(2, "cpu", members.misconfigured_in_the_second)


def test_a_killed_process_ends_all():
    with pytest.raises(
        CreditingError, match=r"killed \(signal 9\).* lower runtime\.training_processes"
    ):
        run_together(2, "cpu", members.killed_in_the_second)


def test_a_process_that_cannot_start_is_no_lack_of_memory():
    with pytest.raises(RuntimeError, match="ended with exit code 1; what it printed is above"):
        run_together(1, "cpu", members.VanishesWhenUnpickled())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition) -> bool:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(("sent", "told"), [(signal.SIGINT, "interrupted\n"), (signal.SIGKILL, "")])
def test_stopped_by_the_user_they_leave_no_process_and_no_noise(tmp_path, sent, told):
    process = subprocess.Popen(
        [sys.executable, members.__file__, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        noted = [path.name.split("-") for path in tmp_path.glob("pid-*")]
        assert [blocked for _, _, blocked in noted] == ["True", "True"]
        team = [int(pid) for _, pid, _ in noted]
        (os.killpg if sent == signal.SIGINT else os.kill)(process.pid, sent)
        assert process.communicate(timeout=60) == (told, "")
        assert wait_until(lambda: not any(map(is_alive, team)))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
