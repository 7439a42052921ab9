import numpy as np
import pytest

from crediting.errors import ConfigError, DataError
from crediting.partitions import ByLabel

COLUMNS = {"label": np.array([3, 1, 3, 0, 1, 3]), "writer": np.array(list("abbaab"))}


def test_one_contributor_per_value_in_sorted_order():
    partition = ByLabel("label").partition(COLUMNS)
    assert partition.names == ["0", "1", "3"]
    np.testing.assert_array_equal(partition.owner, [2, 1, 2, 0, 1, 2])


def test_any_column_will_do():
    assert ByLabel("writer").partition(COLUMNS).names == ["a", "b"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("lable", r"partition\.column: .* got 'lable'; did you mean label\?"),
        ("xyz", r"partition\.column: .* got 'xyz'; known: label, writer"),
    ],
)
def test_unknown_column_is_refused_with_the_nearest(column, message):
    with pytest.raises(ConfigError, match=message):
        ByLabel(column).partition(COLUMNS)


@pytest.mark.parametrize("blank", ["", "  "])
def test_nobody_is_credited_for_what_has_no_label(blank):
    cameras = np.array(["canon", blank, "nikon", blank])
    with pytest.raises(DataError, match=r"2 of 4 examples have nothing in the column 'camera'"):
        ByLabel("camera").partition({"camera": cameras})


def test_a_constant_column_makes_no_game():
    with pytest.raises(DataError, match="at least 2 contributors, got 1"):
        ByLabel("label").partition({"label": np.zeros(5)})
