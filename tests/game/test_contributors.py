import numpy as np
import pytest

from crediting.errors import DataError
from crediting.game.contributor import Contributor, Partition, group_examples


def partition_of(*owned, n_examples):
    players = [Contributor(f"c{i}", np.array(rows, int)) for i, rows in enumerate(owned)]
    return Partition(players, n_examples)


def test_a_coalition_owns_the_sorted_union_of_its_members():
    partition = partition_of([5, 0], [1, 4], [3, 2], n_examples=6)
    np.testing.assert_array_equal(partition.examples(np.array([True, False, True])), [0, 2, 3, 5])
    np.testing.assert_array_equal(partition.owner, [0, 1, 2, 2, 1, 0])
    np.testing.assert_array_equal(partition.sizes, [2, 2, 2])


def test_digest_depends_on_names_and_owners_only():
    partition = partition_of([5, 0], [1, 4], [3, 2], n_examples=6)
    same = partition_of([0, 5], [4, 1], [2, 3], n_examples=6)
    other = partition_of([0, 4], [5, 1], [2, 3], n_examples=6)
    assert partition.digest() == same.digest() != other.digest()


def test_digest_tells_names_apart_wherever_they_end():
    digests = {
        Partition([Contributor(name, np.array([i])) for i, name in enumerate(names)], 2).digest()
        for names in (("ab", "c"), ("a", "bc"))
    }
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("owned", "message"),
    [
        ([[0, 1, 2]], "at least 2 contributors, got 1"),
        ([[0, 1, 2], []], r"without a single training image: \['c1'\]"),
        ([[0, 1], [1, 2]], "example 1 with 2 owners"),
        ([[0], [2]], "example 1 with 0 owners"),
        ([[0, 1], [2, 3]], r"must lie in 0\.\.2, got 0\.\.3"),
        ([[0, 1], [2, -1]], r"must lie in 0\.\.2, got -1\.\.2"),
    ],
)
def test_what_is_not_a_partition_is_refused(owned, message):
    with pytest.raises(DataError, match=message):
        partition_of(*owned, n_examples=3)


def test_repeated_names_are_refused():
    twins = [Contributor("twin", np.array([i])) for i in range(2)]
    with pytest.raises(DataError, match=r"unique, got twice: \['twin'\]"):
        Partition(twins, 2)


def test_groups_are_sorted_by_value():
    partition = group_examples(np.array(["b", "a", "b", "c"]))
    assert partition.names == ["a", "b", "c"]
    np.testing.assert_array_equal(partition.owner, [1, 0, 1, 2])
