import numpy as np
import pytest

from crediting.errors import ConfigError
from crediting.partitions import ByShards

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 60))


@pytest.mark.parametrize(
    ("contributors", "shards", "n_examples"), [(2, 1, 2), (3, 2, 7), (10, 2, 600), (101, 5, 599)]
)
def test_every_example_has_one_owner_and_shares_are_equal(contributors, shards, n_examples):
    partition = ByShards(contributors, shards, "label", 1).partition({"label": LABELS[:n_examples]})
    owned = np.concatenate([c.examples for c in partition.contributors])
    np.testing.assert_array_equal(np.sort(owned), np.arange(n_examples))
    assert len(partition) == contributors
    assert np.ptp(partition.sizes) <= shards


def test_a_contributor_knows_no_more_labels_than_it_has_shards():
    # 20 shards of 30 examples out of 60 per label: no shard straddles two labels.
    partition = ByShards(10, 2, "label", 3).partition({"label": LABELS})
    known = [len(np.unique(LABELS[c.examples])) for c in partition.contributors]
    assert max(known) <= 2
    np.testing.assert_array_equal(partition.sizes, 60)


def test_seed_deals_the_shards_and_breaks_the_ties():
    first, again, other = (
        ByShards(10, 2, "label", seed).partition({"label": LABELS}) for seed in (0, 0, 1)
    )
    assert first.digest() == again.digest() != other.digest()
    constant = {"label": np.zeros(600)}
    tied = ByShards(2, 1, "label", 0).partition(constant)
    assert np.any(np.diff(tied.contributors[0].examples) != 1)


def test_the_deal_is_that_of_a_stable_sort_on_every_machine():
    partition = ByShards(5, 3, "label", 4).partition({"label": LABELS})
    generator = np.random.default_rng(4)
    ranked = sorted(generator.permutation(600).tolist(), key=LABELS.tolist().__getitem__)
    hands = generator.permutation(15).reshape(5, 3).tolist()
    for contributor, hand in zip(partition.contributors, hands, strict=True):
        held = [example for shard in hand for example in ranked[40 * shard : 40 * (shard + 1)]]
        assert contributor.examples.tolist() == sorted(held)


def test_text_columns_are_sorted_too():
    writers = np.array([f"writer {label}" for label in LABELS])
    partition = ByShards(10, 1, "writer", 0).partition({"writer": writers})
    assert all(len(np.unique(writers[c.examples])) == 1 for c in partition.contributors)


def test_names_sort_as_the_players_do():
    few = ByShards(3, 1, "label", 0).partition({"label": LABELS}).names
    assert few == ["contributor_00", "contributor_01", "contributor_02"]
    many = ByShards(120, 1, "label", 0).partition({"label": LABELS}).names
    assert many == sorted(many)
    hundred = ByShards(100, 1, "label", 0).partition({"label": LABELS}).names
    assert (hundred[0], hundred[-1]) == ("contributor_00", "contributor_99")


@pytest.mark.parametrize(
    ("contributors", "shards", "message"),
    [
        (1, 2, r"partition\.contributors: expected at least 2, got 1; "),
        (5, 0, r"partition\.shards_per_contributor: expected at least 1, got 0; "),
    ],
)
def test_bad_numbers_are_refused(contributors, shards, message):
    with pytest.raises(ConfigError, match=message):
        ByShards(contributors, shards, "label", 0)


def test_more_shards_than_examples_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"partition\.contributors x partition\.shards_per_contributor: expected at most "
        r"11 shards, one per example, got 4 x 3 = 12; lower",
    ):
        ByShards(4, 3, "label", 0).partition({"label": LABELS[:11]})


def test_unknown_column_is_refused():
    with pytest.raises(ConfigError, match=r"partition\.column: .* got 'labels'; did you mean"):
        ByShards(4, 3, "labels", 0).partition({"label": LABELS})
