"""What a GPU cannot hold is refused before training, and what work took is said and remembered."""

import json
import os
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from toy_executor import ToyExecutor

from crediting import multiprocess
from crediting.errors import ConfigError
from crediting.generation import Ddim
from crediting.models import pretrained
from crediting.pipeline import memory, stages


@pytest.fixture
def gpu(monkeypatch):
    """Return a function that tells how much memory a GPU, which need not exist, has free."""

    def free(count):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(count), int(2 * count)))

    return free


def needed(study, denoiser):
    return memory._of_base_training(study, denoiser, "cuda")


def test_what_cannot_fit_is_refused_with_the_keys_that_help(study, gpu):
    made = study()
    denoiser = made.model.untrained(0)
    gpu(needed(made, denoiser).lasting - 1)
    with pytest.raises(ConfigError) as refused:
        memory.check_memory(made, denoiser, "cuda")
    message = str(refused.value)
    assert message.startswith("model.training: ")
    for key in (
        f"model.training.batch_size ({made.model.training.batch_size})",
        "runtime.gradient_checkpointing=true",
        "runtime.precision=bf16",
        "model.training.optimizer=adamw8bit",
    ):
        assert key in message


def test_what_may_not_fit_is_said_and_what_fits_is_not(study, gpu, capsys):
    made = study()
    denoiser = made.model.untrained(0)
    estimate = needed(made, denoiser)
    for free, said in (
        (estimate.lasting + 1, True),
        (estimate.total / 0.9 - 1e3, True),
        (estimate.total / 0.9 + 1e3, False),
    ):
        gpu(free)
        capsys.readouterr()
        memory.check_memory(made, denoiser, "cuda")
        assert ("runtime.gradient_checkpointing=true" in capsys.readouterr().err) is said


def test_parts_of_a_batch_are_promised_to_a_process_that_trains_alone(
    study, gpu, capsys, monkeypatch
):
    made = study()
    denoiser = made.model.untrained(0)
    gpu(needed(made, denoiser).lasting + 1)
    for processes in (1, 2):
        monkeypatch.setattr(memory, "training_processes", lambda runtime, count=processes: count)
        memory.check_memory(made, denoiser, "cuda")
        told = capsys.readouterr().err
        assert ("gradients of parts of a batch are added up" in told) is (processes == 1)


def test_what_earlier_stages_left_reserved_is_given_back_before_memory_is_counted(
    study, gpu, monkeypatch
):
    released = []
    gpu(0)
    monkeypatch.setattr(memory, "release_memory", lambda: released.append(gpu(1e12)))
    memory.check_memory(study(), study().model.untrained(0), "cuda")
    assert released == [None]


def test_nothing_is_refused_on_the_cpu(study, gpu):
    gpu(0)
    memory.check_memory(study(), study().model.untrained(0), "cpu")


def test_it_is_refused_before_anything_is_trained(study, trainings, gpu, monkeypatch):
    made = study()
    stages.run(made, "encode")
    gpu(0)
    original = memory.check_memory
    monkeypatch.setattr(
        "crediting.pipeline.train.check_memory",
        lambda study, denoiser, device: original(study, denoiser, "cuda"),
    )
    with pytest.raises(ConfigError, match=r"^model\.training: "):
        stages.run(made, "train")
    assert trainings == []


def test_what_training_and_drawing_take_is_told(study, capsys):
    made = study("model.training.optimizer=adam")
    memory.tell_memory(made)
    first, second = capsys.readouterr().out.splitlines()[:2]
    weights = sum(p.numel() * 4 for p in made.model.untrained(0).parameters())
    assert f"weights {weights / 1e6:.1f} MB, moments {2 * weights / 1e6:.1f} MB, " in first
    assert "a coalition at most " in second
    assert f"drawing {made.generation.images} images at once " in second
    memory.tell_memory(study("finetuning=influence_unlearning", "pruning=none"))
    assert "a coalition" not in capsys.readouterr().out
    for stack, told in ((1, False), ("auto", False), (4, True)):
        memory.tell_memory(study(f"runtime.stack={stack}"))
        assert (f", times {stack} in a stack; drawing" in capsys.readouterr().out) is told


@pytest.mark.parametrize(
    ("prompts", "guidance"), [(None, None), (["a", "b"], None), (["a", "b"], 1.0)]
)
def test_as_many_predictions_are_reckoned_with_as_drawing_takes(prompts, guidance):
    asked = []

    class Still(torch.nn.Linear):
        def forward(self, sample, *conditions):
            asked.append(len(sample))
            return SimpleNamespace(sample=0 * sample)

    model = SimpleNamespace(
        conditional=prompts is not None,
        noise_scheduler=DDPMScheduler,
        latent_shape=lambda: (1, 2, 2),
        decode=lambda latents: latents,
    )
    generation = Ddim(5, 2, 5, prompts, guidance)
    generation.generate(Still(1, 1), model, 0, None if prompts is None else torch.zeros(3, 4, 2))
    study = SimpleNamespace(model=model, generation=generation)
    assert asked == [5 * memory.predictions_per_image(study)] * 2
    own = SimpleNamespace(model=model, generation=SimpleNamespace())
    assert memory.predictions_per_image(own) == (1 if prompts is None else 2)


def test_what_cannot_be_foretold_is_said_and_trained_all_the_same(study, capsys, monkeypatch):
    operation = "aten._local_scalar_dense.default"

    def depends_on_numbers(*_):
        raise DataDependentOutputException(operation)

    monkeypatch.setattr(memory, "of_training", depends_on_numbers)
    made = study()
    memory.tell_memory(made)
    assert capsys.readouterr().out == f"memory    cannot be estimated: {operation}\n"
    memory.check_memory(made, made.model.untrained(0), "cuda")


def test_adapters_take_less_memory_than_the_whole_model(study):
    wide = "model.unet.add_attention=true"
    whole, adapters = (
        memory._needs(study(wide, f"finetuning={name}")).coalition for name in ("finetune", "lora")
    )
    assert adapters.total < whole.total
    assert adapters.moments < 0.1 * whole.moments


def test_what_a_gpu_has_is_told(study, gpu, capsys, monkeypatch):
    made = study()
    gpu(12e9)
    monkeypatch.setattr(
        memory, "open_machine", lambda runtime: SimpleNamespace(device=torch.device("cuda"))
    )
    memory.tell_memory(made)
    assert "memory    the GPU has 24.0 GB, of which 12.0 GB are free\n" in capsys.readouterr().out


def test_a_batch_of_more_than_all_examples_is_foretold_as_one_of_all(study):
    sizes = ("model.training.batch_size", "finetuning.recipe.batch_size")
    count = study().partition.n_examples
    all_of_them, more = (
        memory._needs(study(*(f"{key}={size}" for key in sizes))) for size in (count, 1000 * count)
    )
    assert more == all_of_them


def test_several_processes_share_a_batch(study):
    alone, shared = study(), study("runtime.training_processes=2")
    denoiser = alone.model.untrained(0)
    assert needed(shared, denoiser).activations < 0.6 * needed(alone, denoiser).activations
    assert needed(shared, denoiser).lasting == needed(alone, denoiser).lasting
    three = study("runtime.training_processes=3", "model.training.batch_size=32")
    largest_share = study("model.training.batch_size=11")
    assert needed(three, denoiser) == needed(largest_share, denoiser)


def test_peaks_are_said_and_remembered(study, capsys):
    made = study("property=[fid]")
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(made, stage)
    said = capsys.readouterr().err
    for stage, address in (("train", made.trained), ("prune", made.game.start)):
        assert f"{stage}: at most " in said
        facts = json.dumps(made.store.read(address.stage, address.fingerprint))
        assert '"peak_memory": ' in facts
    assert "evaluate: at most " in said


def test_what_evaluating_takes_on_a_gpu_is_said_again_when_it_is_a_tenth_more(monkeypatch, capsys):
    seen = [0.0]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: seen[0])
    watch = memory.Watch()
    for gigabytes in (100, 109, 111, 120, 123):
        seen[0] = gigabytes * 1e9
        watch.look()
    said = [line.split()[3] for line in capsys.readouterr().err.splitlines()]
    assert said == ["100.0", "111.0", "123.0"]


def test_the_peak_on_a_gpu_is_that_of_the_largest_process_since_it_was_watched(monkeypatch):
    seen = {"now": 5}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: seen["now"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: seen.update(now=2))
    monkeypatch.setattr(multiprocess, "_elsewhere", {"resident": 0, "allocated": 0})
    for allocated, peak in ((3, 5), (7, 7)):
        multiprocess.tell_memory(resident=9, allocated=allocated)
        assert memory.peak() == {"peak_memory": peak, "peak_memory_of": "tensors on the GPU"}
    memory.start_watching()
    assert memory.peak()["peak_memory"] == 2


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no such file on this system")
@pytest.mark.skipif(torch.cuda.is_initialized(), reason="then the GPU is looked at")
def test_the_peak_of_the_process_is_above_what_it_holds_now():
    before = memory.peak()["peak_memory"]
    held = torch.ones(30_000_000)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert memory.peak()["peak_memory"] >= max(before, 0.95 * resident)
    assert resident > held.nbytes


def test_gradient_checkpointing_reaches_every_training(study, monkeypatch):
    used = []
    original = torch.utils.checkpoint.checkpoint

    def counted(*args, **kwargs):
        used.append(True)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", counted)
    made = study("property=[fid]", "runtime.gradient_checkpointing=true")
    stages.run(made, "encode")
    for stage in ("train", "prune"):
        used.clear()
        stages.run(made, stage)
        assert used
    stages.run(made, "extract")
    used.clear()
    stages.run(made, "evaluate")
    assert used


def test_networks_that_only_this_process_used_are_freed_before_others_evaluate(study):
    network = weakref.ref(pretrained.frozen(lambda: nn.Linear(1, 1), torch.device("cpu")))
    assert network() is not None
    left = []

    class Looking(ToyExecutor):
        def run(self, make_evaluator, jobs):
            left.append(network())
            return super().run(make_evaluator, jobs)

    stages.run(replace(study("property=[fid]"), executor=Looking()), "evaluate")
    assert left == [None]
