import pytest
import torch

from crediting.halving import in_halves


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


def test_one_item_too_many_is_told():
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(memory_for(0, []), torch.arange(5), 4)


def test_nothing_takes_no_work():
    assert in_halves(memory_for(0, []), torch.arange(0), 4) == []
