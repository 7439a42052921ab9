from functools import partial
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler
from tiny_unet import unet
from torch import nn

from crediting.errors import as_user_error, is_out_of_memory
from crediting.halving import Portion, in_halves
from crediting.randomness import Stream
from crediting.training.examples import Examples
from crediting.training.loss import Posed
from crediting.training.recipe import Recipe, Training
from crediting.training.stacking import train_stacked
from crediting.training.stepping import make_step
from crediting.training.trainer import Trainer, make_accelerator

RECIPE = Recipe(
    steps=4,
    batch_size=6,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=0.1,
    schedule="constant",
    warmup=0.0,
    gradient_clip=0.5,
    ema_decay=0.9,
    timesteps="antithetic",
    horizontal_flip=False,
)
COALITIONS = (torch.arange(12), torch.arange(9, 30), torch.arange(3, 25, 2))


def memory_for(most, sizes):
    def work(batch):
        sizes.append(len(batch))
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * batch

    return work


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (100, [8, 8, 3]),
        (8, [8, 8, 3]),
        (3, [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]),
        (1, [8, 4, 2, *[1] * 19]),
    ],
)
def test_batches_halve_until_they_fit_and_stay_so(most, sizes):
    items, tried = torch.arange(19), []
    done = in_halves(memory_for(most, tried), items, 8)
    assert torch.equal(torch.cat(done), 2 * items)
    assert tried == sizes


def test_fewer_items_than_are_allowed_are_halved_by_their_own_number():
    items, tried, too_many = torch.arange(5), [], []
    done = in_halves(memory_for(1, tried), items, 100, too_many.append)
    assert torch.equal(torch.cat(done), 2 * items)
    assert tried == [5, 2, 1, 1, 1, 1, 1]
    assert too_many == [5, 2]


def test_one_item_too_many_is_told():
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(memory_for(0, []), torch.arange(5), 4)


def test_what_is_no_matter_of_memory_is_not_tried_again():
    tried = []

    def work(batch):
        tried.append(len(batch))
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        in_halves(work, torch.arange(5), 4)
    assert tried == [4]


def test_nothing_takes_no_work():
    assert in_halves(memory_for(0, []), torch.arange(0), 4) == []


# ------------------------------------------------------------------------- portions of one batch


def test_a_batch_is_begun_again_with_half_as_much_and_the_next_with_what_sufficed(capsys):
    tried, portion = [], Portion("not enough memory")

    def work(most, at_once):
        tried.append(at_once)
        if at_once > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    portion.do(partial(work, 9), 9)
    assert tried == [9]
    portion.do(partial(work, 3), 13)
    portion.do(partial(work, 3), 13)
    portion.do(partial(work, 3), 2)
    assert tried == [9, 13, 6, 3, 3, 2]
    portion.do(partial(work, 1), 13)
    assert tried[6:] == [3, 1]
    assert capsys.readouterr().err.count("not enough memory") == 1
    with pytest.raises(torch.OutOfMemoryError):
        portion.do(partial(work, 0), 13)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory",
        "Storage size calculation overflowed with sizes=[1, 1, 100000000000000, 100000000000000]",
    ],
)
def test_full_memory_is_known_in_the_words_of_every_library(said):
    assert is_out_of_memory(RuntimeError(said))
    assert "Lower model.training.batch_size" in str(as_user_error(RuntimeError(said)))
    assert not is_out_of_memory(ValueError(said))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_nothing_is_halved_while_a_graph_is_recorded(monkeypatch):
    """What failed would stay in the recording, beside what was done instead."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    tried = []
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(memory_for(2, tried), torch.arange(8), 8)
    assert tried == [8]


class Seen(list):
    """A list that copies of its owner, such as the template of a stack, write to as well."""

    def __deepcopy__(self, memo):
        return self


class Narrow(nn.Module):
    """A denoiser on a device with room for so many examples at once, precise to be compared."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.net, self.most, self.batches = unet().double(), most, Seen()

    def forward(self, sample, timestep):
        prediction = self.net(sample, timestep)
        self.batches.append(len(sample))
        if len(sample) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prediction


@pytest.fixture
def make_trainer():
    AcceleratorState._reset_state(True)
    examples = Examples(Stream("points").normal(torch.arange(30), (1, 4, 4)).double())
    yield lambda: Trainer(examples, DDPMScheduler(50), make_accelerator("cpu", "no"))
    AcceleratorState._reset_state(True)


def test_a_training_that_does_not_fit_adds_up_the_gradients_of_parts(make_trainer, capsys):
    plain, narrow, trainer = Narrow(6), Narrow(3), make_trainer()
    expected = make_trainer().train(Training(plain, RECIPE, COALITIONS[0]), Stream("x"))
    assert capsys.readouterr().err == ""
    found = trainer.train(Training(narrow, RECIPE, COALITIONS[0]), Stream("x"))
    assert narrow.batches == [6, 3, 3, 3, 3, 3, 3, 3, 3]
    assert capsys.readouterr().err.count("train: not enough memory for a whole batch;") == 1
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10)
    again = Narrow(3)
    trainer.train(Training(again, RECIPE, COALITIONS[0]), Stream("x"))
    assert max(again.batches) == 3, "what did not fit is tried anew by every coalition"


@pytest.mark.parametrize(
    ("most", "parts"), [(5, [5]), (2, [5, 2, 2, 1]), (1, [5, 2, 1, 1, 1, 1, 1])]
)
def test_parts_weigh_as_much_as_they_hold(most, parts):
    """Three stacked regressions, five examples each, one step of plain gradient descent."""
    given = torch.Generator().manual_seed(0)
    weights, noisy, target = (
        torch.randn(*shape, dtype=torch.float64, generator=given)
        for shape in ((3, 2), (15, 2), (15, 2))
    )
    tried, slopes = [], weights.clone().requires_grad_()

    def predict(noisy, timesteps):
        assert len(noisy) == len(timesteps)
        rows = noisy.view(3, -1, 2)
        tried.append(rows.shape[1])
        if rows.shape[1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return SimpleNamespace(sample=(rows * slopes[:, None]).flatten(0, 1))

    descent = torch.optim.SGD([slopes], lr=0.1)
    step = make_step(predict, torch.Tensor.backward, list, descent, None, Portion(""), 3)
    step(Posed(noisy, torch.arange(15), {}, target), 3.0)
    assert tried == parts
    x, y = noisy.view(3, 5, 2), target.view(3, 5, 2)
    # 3 times the mean over all 3 * 5 * 2 residuals
    gradient = 2 * (x * (x * weights[:, None] - y)).sum(1) / 10
    torch.testing.assert_close(slopes.detach(), weights - 0.1 * gradient, rtol=1e-5, atol=1e-6)


def test_a_step_that_failed_half_way_is_begun_anew():
    """Of two halves the second does not fit: what the first gave must not count twice."""
    noisy, target = torch.arange(4.0)[:, None], torch.ones(4, 1)
    slope, fits = torch.zeros(1, requires_grad=True), iter([False, True, False, *[True] * 4])

    def predict(noisy, timesteps):
        if not next(fits):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return SimpleNamespace(sample=slope * noisy)

    descent = torch.optim.SGD([slope], lr=0.1)
    step = make_step(predict, torch.Tensor.backward, list, descent, None, Portion(""))
    step(Posed(noisy, torch.arange(4), {}, target), 1.0)
    assert next(fits, None) is None
    assert slope.item() == pytest.approx(0.1 * 2 * 1.5)  # twice the mean of 0, 1, 2, 3


def test_a_stack_that_does_not_fit_is_divided_alike(make_trainer, capsys):
    narrow = [Narrow(3) for _ in COALITIONS]
    stack = [
        Training(denoiser, RECIPE, ids) for denoiser, ids in zip(narrow, COALITIONS, strict=True)
    ]
    train_stacked(make_trainer(), stack, Stream("x"))
    assert narrow[0].batches == [6, 3, 3, 3, 3, 3, 3, 3, 3]
    assert not any(denoiser.batches for denoiser in narrow[1:])
    assert "not enough memory for whole batches of 3 coalitions;" in capsys.readouterr().err


def test_a_training_without_room_for_one_example_is_an_error(make_trainer):
    narrow = Narrow(0)
    with pytest.raises(torch.OutOfMemoryError):
        make_trainer().train(Training(narrow, RECIPE, COALITIONS[0]), Stream("x"))
    assert narrow.batches == [6, 3, 1]
