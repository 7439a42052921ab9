"""One contributor per value of a column."""

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from crediting.errors import ConfigError, DataError, did_you_mean
from crediting.game.contributor import Partition, group_examples


def column_values(columns: Mapping[str, NDArray], name: str) -> NDArray:
    """Return one column of a dataset, (n_examples,).

    Raises:
        ConfigError: the dataset has no such column.
    """
    if name not in columns:
        advice = did_you_mean(name, sorted(columns))
        raise ConfigError(
            f"partition.column: expected a column of the dataset, got {name!r}; {advice}"
        )
    return columns[name]


@dataclass(frozen=True)
class ByLabel:
    """Examples with the same value of a column belong together; players sorted by value."""

    column: str

    def partition(self, columns: Mapping[str, NDArray]) -> Partition:
        """Return the contributors, named by the values; columns have shape (n_examples,).

        Raises:
            ConfigError: the dataset has no such column.
            DataError: the column has fewer than 2 values, or cells without one.
        """
        values = column_values(columns, self.column)
        blank = sum(not str(value).strip() for value in values.tolist())
        if blank:
            raise DataError(
                f"partition.column: {blank} of {len(values)} examples have nothing in the column "
                f"{self.column!r}, so nobody would be credited for them; fill it, or leave them out"
            )
        return group_examples(values)
