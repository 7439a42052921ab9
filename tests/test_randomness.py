import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from crediting.randomness import Stream, _mix, _signed, derive_seed

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
IDS = torch.arange(20_000)


def splitmix64(word):
    """The finaliser of SplitMix64 in integers of any size."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def test_mixing_gives_the_published_outputs_of_splitmix64():
    seed = 1234567
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    states = torch.tensor([_signed((seed + n * GOLDEN) & MASK) for n in range(1, 6)])
    assert [word & MASK for word in _mix(states).tolist()] == published


def test_words_are_the_hash_of_key_id_and_position():
    stream = Stream("words", 3)
    ids = [0, 1, 17, 2**40, -1]
    rows = [splitmix64((stream.seed + i * GOLDEN) & MASK) for i in ids]
    expected = [[splitmix64((row + p * GOLDEN) & MASK) for p in (1, 2, 3)] for row in rows]
    words = stream.words(torch.tensor(ids), 3)
    assert [[word & MASK for word in row] for row in words.tolist()] == expected


def test_a_seed_is_the_sha256_of_its_identity():
    digest = hashlib.sha256(b"noise\x007\x00train").digest()
    assert derive_seed("noise", 7, "train") == int.from_bytes(digest[:8], "little") >> 1
    assert len({derive_seed(*parts) for parts in [("ab",), ("a", "b"), ("b", "a"), ()]}) == 4


def test_a_narrower_stream_is_another_stream():
    stream = Stream("a")
    assert stream.at("b").seed == Stream("a").at("b").seed
    assert len({s.seed for s in (stream, stream.at("b"), stream.at("b", "c"), Stream("b"))}) == 4


@pytest.mark.parametrize("identity", [("one",), ("two", 0), ("two", 1)])
def test_uniform_numbers_are_uniform(identity):
    numbers = Stream(*identity).uniform(IDS).numpy()
    assert numbers.dtype == np.float64
    assert (numbers.min() >= 0) & (numbers.max() < 1)
    assert stats.kstest(numbers, "uniform").pvalue > 0.01


@pytest.mark.parametrize("high", [2, 7, 1000])
def test_integers_are_uniform(high):
    numbers = Stream("integers").integers(IDS, high).numpy()
    assert stats.chisquare(np.bincount(numbers, minlength=high)).pvalue > 0.01


def test_normal_numbers_are_normal():
    numbers = Stream("normal").normal(torch.arange(5000), (3, 3)).double().numpy()
    assert numbers.shape == (5000, 3, 3)
    flat = numbers.ravel()
    error = 1 / math.sqrt(flat.size)
    assert abs(flat.mean()) < 3 * error
    assert abs(flat.var() - 1) < 3 * math.sqrt(2) * error
    assert abs(stats.skew(flat)) < 3 * math.sqrt(6) * error
    assert abs(stats.kurtosis(flat)) < 3 * math.sqrt(24) * error
    assert stats.kstest(flat, "norm").pvalue > 0.01
    assert all(stats.kstest(p, "norm").pvalue > 1e-3 for p in numbers.reshape(5000, 9).T)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_normal_numbers_are_box_muller_of_both_ends_of_a_word(size):
    stream, ids = Stream("box-muller"), torch.arange(50)
    words = stream.words(ids, math.ceil(size / 2)).numpy().view(np.uint64)
    radius = np.sqrt(-2 * np.log(((words >> 40) + 1) / 2**24))
    angle = 2 * np.pi * (words & 0xFFFFFF) / 2**24
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    np.testing.assert_allclose(stream.normal(ids, (size,)), expected[:, :size], atol=1e-5)


def test_neighbouring_ids_positions_and_streams_are_independent():
    noise = Stream("independence", 0).normal(torch.arange(5000), (3, 3)).reshape(5000, 9)
    other = Stream("independence", 1).normal(torch.arange(5000), (3, 3)).reshape(5000, 9)
    within = np.corrcoef(noise.numpy(), rowvar=False)[np.triu_indices(9, 1)]
    across_ids = [np.corrcoef(noise[:-1, p], noise[1:, p])[0, 1] for p in range(9)]
    across_streams = [np.corrcoef(noise[:, p], other[:, p])[0, 1] for p in range(9)]
    squares = np.corrcoef((noise**2).numpy(), rowvar=False)[np.triu_indices(9, 1)]
    correlations = np.concatenate([within, squares, across_ids, across_streams])
    assert np.abs(correlations).max() < 4 / math.sqrt(5000)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 3, 3), (2, 2)])
def test_normal_numbers_of_any_shape_are_finite_and_distinct(shape):
    noise = Stream("shape").normal(torch.arange(50), shape)
    assert noise.shape == (50, *shape)
    assert noise.dtype == torch.float32
    assert torch.isfinite(noise).all()
    assert len(noise.unique()) == noise.numel()


def test_the_extreme_words_give_finite_normal_numbers(monkeypatch):
    words = torch.tensor([[0, -1, 2**63 - 1, -(2**63)]])
    monkeypatch.setattr(Stream, "words", lambda self, ids, positions: words)
    noise = Stream("extreme").normal(torch.arange(1), (8,))
    assert torch.isfinite(noise).all()
    assert noise.abs().max() <= math.sqrt(48 * math.log(2)) + 1e-6


@pytest.mark.parametrize(
    "draw",
    [
        lambda stream, ids: stream.words(ids, 3),
        lambda stream, ids: stream.uniform(ids),
        lambda stream, ids: stream.integers(ids, 10),
        lambda stream, ids: stream.normal(ids, (1, 3, 3)),
    ],
)
def test_values_do_not_depend_on_order_or_company(draw):
    stream = Stream("company")
    ids = torch.arange(100)
    everything = draw(stream, ids)
    some = torch.tensor([42, 7, 99, 0])
    assert torch.equal(draw(stream, some), everything[some])
    assert torch.equal(draw(stream, ids.flip(0)), everything.flip(0))
    assert torch.equal(draw(stream, some[:1]), everything[42:43])
    assert torch.equal(draw(stream, ids.int()), everything)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    Stream("global").normal(torch.arange(5), (3,))
    Stream("global").choose(torch.arange(5), 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_choosing_is_without_replacement_and_from_the_ids():
    ids = torch.arange(0, 300, 3)
    chosen = Stream("choose").choose(ids, 32)
    assert len(chosen.unique()) == 32
    assert set(chosen.tolist()) <= set(ids.tolist())


def test_choosing_more_than_there_are_takes_all():
    assert sorted(Stream("few").choose(torch.tensor([5, 3, 9]), 32).tolist()) == [3, 5, 9]
    assert len(Stream("none").choose(torch.tensor([], dtype=torch.long), 32)) == 0


def test_a_subset_chooses_all_that_its_superset_chose_of_it():
    everything = torch.arange(1000)
    for step in range(20):
        stream = Stream("overlap", step)
        subset = stream.at("subset").choose(everything, 300).sort().values
        wanted = set(stream.choose(everything, 64).tolist()) & set(subset.tolist())
        assert wanted <= set(stream.choose(subset, 64).tolist())


def test_every_id_is_chosen_equally_often():
    ids = torch.arange(50)
    chosen = torch.cat([Stream("fair", step).choose(ids, 10) for step in range(2000)])
    counts = np.bincount(chosen.numpy(), minlength=50)
    # without replacement the variance of a count is (1 - 10/50) of the multinomial one
    statistic = ((counts - 400) ** 2 / 400).sum() / (1 - 10 / 50) * 49 / 50
    assert stats.chi2.sf(statistic, 49) > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second kind of device")
def test_words_and_choices_are_the_same_on_every_device():
    ids = torch.arange(1000)
    stream = Stream("device")
    for draw in (lambda i: stream.words(i, 5), stream.uniform, lambda i: stream.choose(i, 10)):
        assert torch.equal(draw(ids.cuda()).cpu(), draw(ids))
    torch.testing.assert_close(stream.normal(ids.cuda(), (9,)).cpu(), stream.normal(ids, (9,)))
