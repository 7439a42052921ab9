"""What a process works with."""

import os

import pytest
import torch

from crediting.errors import ConfigError
from crediting.pipeline.machine import capacity, open_machine, release_memory

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


def test_one_evaluator_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert capacity({**CPU, "device": "auto"}) == 1


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


def test_half_precision_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"runtime\.precision: fp16 needs a CUDA device"):
        open_machine({**CPU, "precision": "fp16"})
