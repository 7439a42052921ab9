"""What a process works with."""

import os
from types import SimpleNamespace

import pytest
import torch

from crediting.errors import ConfigError
from crediting.interfaces import Features
from crediting.pipeline import machine
from crediting.pipeline.extract.gauges import features_of
from crediting.pipeline.machine import (
    capacity,
    gpus,
    open_machine,
    release_memory,
    training_processes,
)
from crediting.training.cuda_graphs import CudaTape

CPU = {"device": "cpu", "precision": "fp32", "threads": 1}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_capacity_counts_the_cores_that_may_be_used():
    allowed = os.sched_getaffinity(0)
    assert capacity(CPU) == len(allowed)
    assert capacity({**CPU, "threads": 10_000}) == 1
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert capacity(CPU) == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.fixture
def with_gpus(monkeypatch):
    """Return `with_gpus(count, visible)`: let torch find so many GPUs under a user's choice."""

    def pretend(count, visible=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return pretend


@pytest.mark.parametrize("count", [1, 3])
def test_one_evaluator_per_gpu(with_gpus, count):
    with_gpus(count)
    assert capacity({**CPU, "device": "auto"}) == count
    assert capacity({**CPU, "threads": 10_000}) == 1


@pytest.mark.parametrize(
    ("found", "visible", "named"),
    [
        (2, None, ("0", "1")),
        (2, "5, 2", ("5", "2")),
        (2, "GPU-8932f937,GPU-4a1c", ("GPU-8932f937", "GPU-4a1c")),
        (1, "MIG-1c9a,MIG-77b0", ("MIG-1c9a", "MIG-77b0")),
        (1, "3,-1,2", ("3",)),
    ],
)
def test_gpus_are_named_as_the_user_named_them(with_gpus, found, visible, named):
    with_gpus(found, visible)
    assert gpus({**CPU, "device": "cuda"}) == named
    assert gpus(CPU) == ()


def test_no_gpus_to_deal_where_there_are_none(with_gpus):
    with_gpus(0)
    assert gpus({**CPU, "device": "auto"}) == ()


@pytest.mark.parametrize(
    ("device", "asked", "processes"),
    [
        *(("cpu", 1, 1), ("cpu", 3, 3), ("cpu", "auto", 1)),
        *(("auto", "auto", 2), ("cuda", 1, 1), ("cuda", 2, 2)),
    ],
)
def test_processes_that_share_a_training(with_gpus, device, asked, processes):
    with_gpus(2)
    runtime = {**CPU, "device": device, "training_processes": asked}
    assert training_processes(runtime) == processes


def test_more_processes_than_gpus_cannot_share_a_training(with_gpus):
    with_gpus(2)
    with pytest.raises(ConfigError, match=r"runtime\.training_processes: .* 2 .* got 3"):
        training_processes({**CPU, "device": "cuda", "training_processes": 3})


def test_memory_on_the_gpu_is_released_where_there_is_any(monkeypatch):
    released = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append(True))
    for initialised in (False, True):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda answer=initialised: answer)
        release_memory()
        assert len(released) == initialised


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        open_machine({**CPU, "threads": 2})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"runtime\.device: there is no cuda here, only cpu"):
        open_machine({**CPU, "device": "cuda"})
    assert open_machine({**CPU, "device": "auto"}).device.type == "cpu"


@pytest.fixture
def restored():
    """Leave the process with the plain machine that other tests expect."""
    yield
    open_machine(CPU)


@pytest.mark.usefixtures("restored")
def test_a_sweep_may_change_the_precision():
    for precision, word in (("fp32", "no"), ("bf16", "bf16"), ("fp32", "no")):
        assert open_machine({**CPU, "precision": precision}).mixed_precision == word


def test_nothing_else_may_choose_the_device(monkeypatch, restored):
    with monkeypatch.context() as environment:
        environment.setenv("ACCELERATE_TORCH_DEVICE", "meta")
        with pytest.raises(ConfigError, match=r"runtime\.device: expected cpu, .* use meta; unset"):
            open_machine(CPU)


def test_a_gpu_that_only_emulates_bf16_is_refused(monkeypatch):
    supported = {True: True, False: False}
    monkeypatch.setattr(machine, "_device", lambda asked: "cuda")
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: supported[including_emulation]
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(ConfigError, match=r"runtime\.precision: bf16 .* got Tesla T4; choose fp16"):
        open_machine({**CPU, "device": "cuda", "precision": "bf16"})


def test_half_precision_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"runtime\.precision: fp16 needs a CUDA device"):
        open_machine({**CPU, "precision": "fp16"})


@pytest.mark.parametrize("wanted", [True, False])
def test_a_gpu_adds_in_one_order_if_that_is_asked_for(wanted, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        machine._compute_alike(wanted)
        assert torch.are_deterministic_algorithms_enabled() == wanted
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == wanted
        attention = torch.backends.cuda
        assert attention.math_sdp_enabled()
        assert attention.flash_sdp_enabled() != wanted
        assert attention.mem_efficient_sdp_enabled() != wanted
        assert attention.cudnn_sdp_enabled() != wanted
    finally:
        machine._compute_alike(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.parametrize("last", [True, False])
def test_weights_are_ordered_in_memory_as_is_asked_for(last):
    placed = machine.placed(torch.nn.Conv2d(3, 4, 3), torch.device("cpu"), {"channels_last": last})
    assert placed.weight.is_contiguous(memory_format=torch.channels_last) is last


@pytest.mark.parametrize(
    ("device", "wanted", "recorded"),
    [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)],
)
def test_steps_are_recorded_on_a_gpu_where_that_is_asked_for(device, wanted, recorded, monkeypatch):
    monkeypatch.setattr(machine, "Trainer", lambda *given: given[-1])
    runtime = {"gradient_checkpointing": False, "compile": None, "cuda_graphs": wanted}
    model = SimpleNamespace(noise_scheduler=lambda: None)
    accelerator = SimpleNamespace(device=torch.device(device))
    tape = machine.make_trainer(None, model, accelerator, runtime)
    assert tape is (CudaTape if recorded else None)


def test_features_are_computed_in_full_precision():
    found = []

    class Watching:
        gives = ("logits",)

        def features(self, network, images):
            found.append(torch.backends.cudnn.allow_tf32)
            return Features(logits=images.float().flatten(1), embeddings=None)

    features_of("mine", Watching(), torch.nn.Identity(), torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert found == [False]
    assert torch.backends.cudnn.allow_tf32
